// PayloadCMS 3 with its own REST handlers, on loopback. `node server.mjs FOLDER [PORT]` prints its port and a key.
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { Readable } from 'node:stream'

import { sqliteAdapter } from '@payloadcms/db-sqlite'
import { buildConfig, getPayload, handleEndpoints } from 'payload'

const [folder, port] = process.argv.slice(2)
const apiKey = '6f1c9d1e-2b7a-4c55-9d0e-1a2b3c4d5e6f'
mkdirSync(path.join(folder, 'media'), { recursive: true })

// As docs/api.md has it for whoever sets one up.
const fields = [
  { name: 'task_id', type: 'text', unique: true, index: true },
  { name: 'task_type', type: 'text' },
  { name: 'title', type: 'text' },
  { name: 'alt', type: 'text', required: true },
  { name: 'prompt', type: 'textarea' },
  { name: 'media_kind', type: 'select', options: ['video', 'image', 'audio'] },
  { name: 'media_url', type: 'text' },
  { name: 'model_used', type: 'text' },
  { name: 'duration', type: 'number' },
  { name: 'resolution', type: 'text' },
  { name: 'file_size', type: 'number' },
  { name: 'metadata', type: 'json' },
]

const config = buildConfig({
  secret: 'for tests, and nothing else',
  telemetry: false,
  editor: {},
  db: sqliteAdapter({ client: { url: `file:${path.join(folder, 'payload.db')}` }, push: true }),
  collections: [
    { slug: 'users', auth: { useAPIKey: true }, fields: [] },
    { slug: 'results', fields },
    { slug: 'media', upload: { staticDir: path.join(folder, 'media') }, fields },
    { slug: 'bare', fields: [{ name: 'title', type: 'text' }] },
  ],
})

const payload = await getPayload({ config })
const { totalDocs } = await payload.count({ collection: 'users' })
if (totalDocs === 0) {
  const data = { email: 'robot@example.org', password: 'not used by anybody', enableAPIKey: true, apiKey }
  await payload.create({ collection: 'users', data })
}

const server = createServer(async (incoming, outgoing) => {
  const hasBody = !['GET', 'HEAD'].includes(incoming.method)
  const request = new Request(`http://${incoming.headers.host}${incoming.url}`, {
    method: incoming.method,
    headers: incoming.headers,
    body: hasBody ? Readable.toWeb(incoming) : undefined,
    duplex: 'half',
  })
  const answer = await handleEndpoints({ config, request })
  outgoing.writeHead(answer.status, Object.fromEntries(answer.headers))
  outgoing.end(Buffer.from(await answer.arrayBuffer()))
})
server.listen(Number(port ?? 0), '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port, apiKey })))
