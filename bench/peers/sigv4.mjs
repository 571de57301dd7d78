// AWS Signature Version 4 in the query, by hand: the same as the SDK's, without the SDK.
import { createHash, createHmac } from "node:crypto";

const hmac = (key, text) => createHmac("sha256", key).update(text).digest();
const escape = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());

export class Signer {
  constructor({ endpoint, region, accessKeyId, secretAccessKey }) {
    Object.assign(this, { endpoint, region, accessKeyId, secretAccessKey, host: new URL(endpoint).host, day: "" });
  }

  sign(method, path, { expires, query = {}, headers = {} }) {
    const stamp = new Date().toISOString().replace(/[-:]|\.\d{3}/g, "");
    const day = stamp.slice(0, 8);
    const scope = `${day}/${this.region}/s3/aws4_request`;
    if (this.day !== day) {
      this.key = scope.split("/").reduce(hmac, "AWS4" + this.secretAccessKey);
      this.day = day;
    }
    const bound = { ...headers, host: this.host };
    const names = Object.keys(bound).sort();
    const asked = Object.entries({
      "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
      "X-Amz-Credential": `${this.accessKeyId}/${scope}`,
      "X-Amz-Date": stamp,
      "X-Amz-Expires": expires,
      "X-Amz-SignedHeaders": names.join(";"),
      ...query,
    }).map(([name, value]) => `${escape(name)}=${escape(value)}`).sort().join("&");
    const where = path.split("/").map(escape).join("/");
    const canonical = names.map((name) => `${name}:${bound[name]}\n`).join("");
    const request = `${method}\n${where}\n${asked}\n${canonical}\n${names.join(";")}\nUNSIGNED-PAYLOAD`;
    const digest = createHash("sha256").update(request).digest("hex");
    const signature = hmac(this.key, `AWS4-HMAC-SHA256\n${stamp}\n${scope}\n${digest}`).toString("hex");
    return `${this.endpoint}${where}?${asked}&X-Amz-Signature=${signature}`;
  }
}
