"""Publishes and consumes through pynsq; see test/behaviour/interop/support/suite.ts for the acts and their reports, and
test/behaviour/discovery/support/follower.ts for the act follow."""

import asyncio
import hashlib
import json
import os
import ssl
import sys
import time

import nsq


# Settings of the library's own, for reader and writer.
OPTIONS = json.loads(os.environ.get("CLIENT_OPTIONS", "{}"))


def layers():
    """See test/behaviour/interop/support/transport.ts."""
    transport = json.loads(os.environ.get("BUNSQ_TRANSPORT", "{}"))
    options = {}
    if "ca" in transport:
        tls = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": transport["ca"], "ssl_version": ssl.PROTOCOL_TLS_CLIENT}
        if "cert" in transport:
            tls |= {"certfile": transport["cert"], "keyfile": transport["key"]}
        options |= {"tls_v1": True, "tls_options": tls}
    if "compression" in transport:
        options[transport["compression"]] = True
    return options


def body(i):
    """Bodies as test/behaviour/interop/support/transport.ts has them."""
    return b"%d %s" % (i, (b"abcdefghijklmnopqrstuvwxyz0123456789" * 7)[: (i * 7) % 251])


class Program:
    def __init__(self, address, topic):
        self.address = address
        self.topic = topic
        self.reader = None
        self.writer = None

    async def open(self, handler, **options):
        """Connects the reader, then the writer; returns when both are ready."""
        self.reader = nsq.Reader(
            topic=self.topic,
            channel="ch",
            nsqd_tcp_addresses=[self.address],
            message_handler=handler,
            max_backoff_duration=1,
            **OPTIONS,
            **layers(),
            **options,
        )
        self.writer = nsq.Writer([self.address], **OPTIONS, **layers())
        while not (self.ready(self.reader) and self.ready(self.writer)):
            await asyncio.sleep(0.01)

    @staticmethod
    def ready(client):
        conns = list(client.conns.values())
        return len(conns) > 0 and all(conn.connected() for conn in conns)

    async def publish(self, command, body):
        answer = asyncio.get_running_loop().create_future()
        getattr(self.writer, command)(self.topic, body, callback=lambda conn, data: answer.set_result(data))
        data = await answer
        if data != b"OK":
            raise RuntimeError(f"{command} was answered {data!r}")

    async def close(self):
        conns = [*self.reader.conns.values(), *self.writer.conns.values()]
        self.reader.close()
        for conn in list(self.writer.conns.values()):
            conn.close()
        while any(conn.connected() for conn in conns):
            await asyncio.sleep(0.01)

    async def flood(self, count):
        times = [0] * count
        counts = {"received": 0, "above": 0}
        everything = asyncio.Event()

        def handler(message):
            times[int(message.body)] += 1
            counts["above"] += message.attempts != 1
            counts["received"] += 1
            if counts["received"] == count:
                everything.set()
            return True

        await self.open(handler, max_in_flight=1000)
        singles = count // 10
        for start in range(0, singles, 500):
            await asyncio.gather(*(self.publish("pub", b"%d" % i) for i in range(start, start + 500)))
        for start in range(singles, count, 300):
            await self.publish("mpub", [b"%d" % i for i in range(start, min(start + 300, count))])
        await everything.wait()
        await self.close()
        return {
            "published": count,
            "received": counts["received"],
            "missing": sum(n == 0 for n in times),
            "repeated": sum(n > 1 for n in times),
            "attemptsAboveOne": counts["above"],
        }

    async def carry(self, count):
        bodies = [b""] * count
        received = 0
        everything = asyncio.Event()

        def handler(message):
            nonlocal received
            bodies[int(message.body.split(b" ")[0])] = message.body
            received += 1
            if received == count:
                everything.set()
            return True

        await self.open(handler, max_in_flight=1000)
        singles = min(500, count)
        await asyncio.gather(*(self.publish("pub", body(i)) for i in range(singles)))
        for start in range(singles, count, 500):
            await self.publish("mpub", [body(i) for i in range(start, min(start + 500, count))])
        await everything.wait()
        await self.close()
        return {"received": received, "sha256": hashlib.sha256(b"".join(bodies)).hexdigest()}

    async def care(self, requeue_delay_ms, msg_timeout_ms):
        seen = {"requeue": [], "touch": [], "timeout": []}
        finished = asyncio.Semaphore(0)

        def finish(message):
            message.finish()
            finished.release()

        async def touch(message):
            for _ in range(4):
                await asyncio.sleep(msg_timeout_ms / 2000)
                message.touch()
            finish(message)

        def handler(message):
            message.enable_async()
            what = message.body.decode()
            seen[what].append((message.attempts, time.monotonic()))
            if what == "touch":
                asyncio.ensure_future(touch(message))
            elif message.attempts > 1:
                finish(message)
            elif what == "requeue":
                message.requeue(backoff=False, time_ms=requeue_delay_ms)

        await self.open(handler, max_in_flight=10, msg_timeout=msg_timeout_ms / 1000)
        for what in seen:
            await self.publish("pub", what.encode())
        for _ in seen:
            await finished.acquire()
        await self.close()

        def attempts(what):
            return [number for number, _ in seen[what]]

        def gap(what):
            return round((seen[what][1][1] - seen[what][0][1]) * 1000)

        return {
            "requeue": {"attempts": attempts("requeue"), "gapMs": gap("requeue")},
            "touch": {"attempts": attempts("touch")},
            "timeout": {"attempts": attempts("timeout"), "gapMs": gap("timeout")},
        }


async def follow(lookups, topic, channel):
    def handler(message):
        print(message.body.decode(), flush=True)
        return True

    reader = nsq.Reader(
        topic=topic,
        channel=channel,
        lookupd_http_addresses=lookups,
        lookupd_poll_interval=1,
        max_in_flight=200,
        max_tries=0,
        heartbeat_interval=1,
        message_handler=handler,
    )
    await asyncio.Event().wait()
    reader.close()


async def main():
    address, topic, act, *numbers = sys.argv[1:]
    if act == "follow":
        await follow(address.split(","), topic, numbers[0])
    report = await getattr(Program(address, topic), act)(*map(int, numbers))
    print(json.dumps(report))


asyncio.run(main())
