"""A list of videos the way it is written first: an ORM session, OFFSET and count(*), and a boto3 presign a poster.

It serves the product's own rows in the product's own shape, to a token of the product's; it keeps no limits, logs and
measures nothing. `PORT`; the rest as the product.
"""

import math
import os
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

import boto3
import jwt
import uvicorn
from botocore.config import Config
from fastapi import Depends, FastAPI, Header, HTTPException
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from backend.accounts.models import User
from backend.orgs.models import ProjectMember
from backend.videos.models import Video
from backend.videos.schemas import Pagination, RenditionOut, VideoListOut, VideoOut

app = FastAPI()
sessions = async_sessionmaker(create_async_engine(os.environ["DATABASE_URL"]), expire_on_commit=False)
bucket = os.environ["S3_BUCKET"]
s3 = boto3.client(
    "s3",
    endpoint_url=os.environ["S3_ENDPOINT_URL"],
    region_name=os.environ["S3_REGION"],
    aws_access_key_id=os.environ["S3_ACCESS_KEY_ID"],
    aws_secret_access_key=os.environ["S3_SECRET_ACCESS_KEY"],
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]


async def get_user(session: SessionDep, authorization: Annotated[str, Header()]) -> User:
    claims = jwt.decode(authorization.removeprefix("Bearer "), options={"verify_signature": False})
    user = await session.get(User, uuid.UUID(claims["sub"]))
    if user is None:
        raise HTTPException(401)
    return user


@app.get("/")
async def ready() -> dict[str, str]:
    return {"status": "ready"}


@app.get("/api/videos")
async def list_videos(
    session: SessionDep, user: Annotated[User, Depends(get_user)], page: int = 1, limit: int = 20
) -> VideoListOut:
    mine = (await session.scalars(select(ProjectMember.project_id).where(ProjectMember.user_id == user.id))).all()
    rows = select(Video).where(Video.project_id.in_(mine), Video.deleted_at.is_(None))
    total = await session.scalar(select(func.count()).select_from(rows.subquery())) or 0
    newest = rows.order_by(Video.created_at.desc(), Video.id.desc())
    videos = await session.scalars(newest.offset((page - 1) * limit).limit(limit))
    pages = math.ceil(total / limit)
    pagination = Pagination(page=page, limit=limit, total=total, total_pages=pages, next_cursor=None)
    return VideoListOut(videos=[shown(video) for video in videos], pagination=pagination)


def shown(video: Video) -> VideoOut:
    poster = None
    if video.poster_key:
        params = {"Bucket": bucket, "Key": video.poster_key, "ResponseContentType": "image/jpeg"}
        poster = s3.generate_presigned_url("get_object", Params=params, ExpiresIn=3600)
    made: dict[str, Any] = {"poster_url": poster, "rendition": None, "error": None}
    if video.rendition_key:
        made["rendition"] = RenditionOut(kind=video.rendition_kind, size_bytes=video.rendition_size_bytes)
    same = {name: getattr(video, name) for name in VideoOut.model_fields if name not in made}
    return VideoOut(**same, **made)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
