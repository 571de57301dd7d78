// The two routes that reserve an upload, as a small service in Node would have them: Fastify, pg, and the AWS SDK
// (or, with SIGNER=own, SigV4 by hand). It asks the same database who sends a request and writes the same row; it
// counts no limits, keeps no quotas or ledger, measures nothing and logs nothing. PARTS=1: it opens an upload in parts
// for the file, as the product does where the storage does not tell of new objects.
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { CreateMultipartUploadCommand, PutObjectCommand, S3Client, UploadPartCommand } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import Fastify from "fastify";
import pg from "pg";
import { Signer } from "./sigv4.mjs";

const env = process.env;
const Bucket = env.S3_BUCKET;
const access = {
  endpoint: env.S3_ENDPOINT_URL,
  region: env.S3_REGION || "us-east-1",
  accessKeyId: env.S3_ACCESS_KEY_ID,
  secretAccessKey: env.S3_SECRET_ACCESS_KEY,
};
const own = env.SIGNER === "own" ? new Signer(access) : null;
const s3 = new S3Client({
  endpoint: access.endpoint,
  region: access.region,
  credentials: access,
  forcePathStyle: true,
  requestChecksumCalculation: "WHEN_REQUIRED",
});
const pool = new pg.Pool({ connectionString: env.DATABASE_URL.replace("+asyncpg", ""), max: 10 });
const tokenKey = createHmac("sha256", env.SECRET_KEY).update("dailies:access").digest();
const app = Fastify();

class Refused extends Error {
  statusCode = 401;
}

function claims(request) {
  const token = (request.headers.authorization ?? "").replace(/^Bearer /, "");
  const [head, body, signature] = token.split(".");
  const right = createHmac("sha256", tokenKey).update(`${head}.${body}`).digest();
  const sent = Buffer.from(signature ?? "", "base64url");
  if (sent.length !== right.length || !timingSafeEqual(sent, right)) throw new Refused();
  const read = JSON.parse(Buffer.from(body, "base64url").toString());
  if (read.exp < Date.now() / 1000) throw new Refused();
  return read;
}

const recognise = {
  name: "recognise",
  text: `SELECT u.id, p.id AS project_id FROM login_sessions s JOIN users u ON u.id = s.user_id
         JOIN projects p ON p.owner_id = u.id AND p.personal
         WHERE s.id = $1 AND s.user_id = $2 AND s.revoked_at IS NULL AND s.expires_at > now()`,
};
const reserve = {
  name: "reserve",
  text: `INSERT INTO uploads (id, project_id, owner_id, video_id, s3_key, filename, content_type, size_bytes, resumable,
         storage_upload_id, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, false, $9, now() + interval '1 hour')
         RETURNING expires_at`,
};

function signPut(key, seconds, bound = {}) {
  if (own) {
    const headers = bound.ContentType
      ? { "content-type": bound.ContentType, "content-length": bound.ContentLength, "if-none-match": "*" }
      : {};
    return own.sign("PUT", `/${Bucket}/${key}`, { expires: seconds, headers });
  }
  const command = new PutObjectCommand({ Bucket, Key: key, ...bound });
  return getSignedUrl(s3, command, { expiresIn: seconds, signableHeaders: new Set(["content-type", "content-length"]) });
}

function signPart(key, uploadId, seconds, size) {
  if (own) {
    const query = { partNumber: 1, uploadId };
    return own.sign("PUT", `/${Bucket}/${key}`, { expires: seconds, query, headers: { "content-length": size } });
  }
  const part = { Bucket, Key: key, UploadId: uploadId, PartNumber: 1, ContentLength: size };
  return getSignedUrl(s3, new UploadPartCommand(part), { expiresIn: seconds });
}

app.get("/", async () => ({ status: "ready" }));

const named = { type: "object", required: ["filename"], properties: { filename: { type: "string", maxLength: 255 } } };
app.post("/upload", { schema: { body: named } }, async (request) => {
  const key = `upload/${randomUUID()}.${request.body.filename.split(".").pop()}`;
  const upload_url = await signPut(key, 1800);
  return { upload_url, s3_path: key, expires_in: 1800, expires_at: new Date(Date.now() + 1800_000) };
});

const file = {
  type: "object",
  required: ["filename", "size", "content_type"],
  properties: {
    filename: { type: "string", maxLength: 255 },
    size: { type: "integer", minimum: 1 },
    content_type: { type: "string", enum: ["video/mp4", "video/quicktime", "video/webm"] },
  },
};
app.post("/api/upload/presigned-url", { schema: { body: file } }, async (request) => {
  const { sid, sub } = claims(request);
  const { rows } = await pool.query({ ...recognise, values: [sid, sub] });
  if (!rows.length) throw new Refused();
  const { filename, size, content_type } = request.body;
  const [upload_id, video_id] = [randomUUID(), randomUUID()];
  const key = `videos/${sub}/${video_id}/${randomUUID()}.${filename.split(".").pop()}`;
  let uploadId = null;
  if (env.PARTS) {
    const opened = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: key, ContentType: content_type }));
    uploadId = opened.UploadId;
  }
  const values = [upload_id, rows[0].project_id, sub, video_id, key, filename, content_type, size, uploadId];
  const written = await pool.query({ ...reserve, values });
  const upload_url = uploadId
    ? await signPart(key, uploadId, 3600, size)
    : await signPut(key, 3600, { ContentType: content_type, ContentLength: size, IfNoneMatch: "*" });
  const headers = { "Content-Type": content_type, ...(uploadId ? {} : { "If-None-Match": "*" }) };
  const { expires_at } = written.rows[0];
  return { upload_id, video_id, upload_url, method: "PUT", headers, s3_key: key, expires_in: 3600, expires_at };
});

await app.listen({ host: "127.0.0.1", port: Number(env.PORT) });
