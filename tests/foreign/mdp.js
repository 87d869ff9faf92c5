// Majordomo 0.1 (ZeroMQ RFC 7) on the npm package `zeromq`, with the timing of the guide's programs.
//
//     mdp.js worker ENDPOINT SERVICE          answers each request with its frames in capitals
//     mdp.js client ENDPOINT SERVICE COUNT    asks so many times, one after the other; first whether the service is there
//     mdp.js burst ENDPOINT SERVICE COUNT     asks so many times before it reads the first answer
const assert = require("node:assert/strict")
const zmq = require("zeromq")

const INTERVAL = 2500 // milliseconds, between heartbeats
const LIVENESS = 3 // intervals without a message after which the broker counts as gone

function connected(Type, endpoint, options) {
  const socket = new Type({ linger: 0, ...options })
  socket.connect(endpoint)
  return socket
}

// The frames of the next message as text, or null if none comes in time.
async function receive(socket) {
  try {
    return (await socket.receive()).map(String)
  } catch (failure) {
    if (failure.code !== "EAGAIN") throw failure
    return null
  }
}

// Serves until the broker sends DISCONNECT or counts as gone.
async function serve(endpoint, service) {
  const socket = connected(zmq.Dealer, endpoint, { receiveTimeout: INTERVAL })
  await socket.send(["", "MDPW01", "\x01", service])
  let nextHeartbeat = Date.now() + INTERVAL
  for (let alive = LIVENESS; alive > 0; ) {
    const message = await receive(socket)
    alive = message ? LIVENESS : alive - 1
    if (message) {
      const [empty, header, command, client, , ...body] = message
      assert.deepEqual([empty, header], ["", "MDPW01"])
      if (command === "\x05") break
      const reply = body.map(frame => frame.toUpperCase())
      if (command === "\x02") await socket.send(["", "MDPW01", "\x03", client, "", ...reply])
    }
    if (Date.now() > nextHeartbeat) {
      await socket.send(["", "MDPW01", "\x04"])
      nextHeartbeat = Date.now() + INTERVAL
    }
  }
  socket.close()
}

async function ask(endpoint, service, body, answer) {
  for (let attempt = 0; attempt < 3; attempt++) {
    const socket = connected(zmq.Request, endpoint, { receiveTimeout: INTERVAL })
    await socket.send(["MDPC01", service, body])
    const reply = await receive(socket)
    socket.close()
    if (reply) return assert.deepEqual(reply, ["MDPC01", service, answer])
  }
  assert.fail("no answer after three attempts")
}

async function burst(endpoint, service, count) {
  const socket = connected(zmq.Dealer, endpoint, { receiveTimeout: 60_000 })
  const open = new Set()
  for (let number = 0; number < count; number++) {
    await socket.send(["", "MDPC01", service, `${number}`])
    open.add(`${number}`)
  }
  while (open.size > 0) {
    const reply = await receive(socket)
    assert(reply, `${open.size} requests without an answer`)
    assert.deepEqual(reply.slice(0, 3), ["", "MDPC01", service])
    assert(open.delete(reply[3]), `a second answer, or one to no request: ${reply[3]}`)
  }
  socket.close()
}

async function main(role, endpoint, service, count) {
  while (role === "worker") await serve(endpoint, service)
  if (role === "burst") await burst(endpoint, service, count)
  else {
    await ask(endpoint, "mmi.service", service, "200")
    for (let number = 0; number < count; number++) await ask(endpoint, service, "request", "REQUEST")
  }
  console.log(`${count} answers`)
}

const [role, endpoint, service, count] = process.argv.slice(2)
main(role, endpoint, service, Number(count ?? 0))
