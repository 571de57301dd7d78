#!/bin/sh
# Makes the bucket and the application's user in MinIO, and proves that the user can do its work.
# Runs at every `docker compose up`; what is already there stays. The image is small:
# only mc and what the shell itself knows are used.
set -eu

: "${MINIO_URL:?}" "${MINIO_ROOT_USER:?}" "${MINIO_ROOT_PASSWORD:?}"
: "${S3_BUCKET:?}" "${S3_ACCESS_KEY_ID:?}" "${S3_SECRET_ACCESS_KEY:?}"

policy=dailies-app
filled=${TMPDIR:-/tmp}/policy.json

mc --quiet alias set root "$MINIO_URL" "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD" >/dev/null

mc --quiet mb --ignore-existing "root/$S3_BUCKET"
# Nobody reads or writes without a signature.
mc --quiet anonymous set none "root/$S3_BUCKET"

# The policy names the bucket by a placeholder, one on a line.
while IFS= read -r line || [ -n "$line" ]; do
    case $line in
        *__BUCKET__*) printf '%s%s%s\n' "${line%%__BUCKET__*}" "$S3_BUCKET" "${line#*__BUCKET__}" ;;
        *) printf '%s\n' "$line" ;;
    esac
done <"${0%/*}/policy.json" >"$filled"

# Both replace what is there, so a changed secret or policy arrives by running this again.
mc --quiet admin policy create root "$policy" "$filled"
mc --quiet admin user add root "$S3_ACCESS_KEY_ID" "$S3_SECRET_ACCESS_KEY"

if ! answer=$(mc --quiet admin policy attach root "$policy" --user "$S3_ACCESS_KEY_ID" 2>&1); then
    case $answer in
        *"already in effect"*) ;;
        *)
            printf '%s\n' "$answer" >&2
            exit 1
            ;;
    esac
fi

mc --quiet alias set app "$MINIO_URL" "$S3_ACCESS_KEY_ID" "$S3_SECRET_ACCESS_KEY" >/dev/null
probe="app/$S3_BUCKET/init-probe"
printf 'ok' | mc --quiet pipe "$probe"
mc --quiet stat "$probe" >/dev/null
mc --quiet rm "$probe"
printf 'storage: the bucket %s is ready\n' "$S3_BUCKET"
