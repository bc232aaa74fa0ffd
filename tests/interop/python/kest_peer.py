"""The Python implementation of Kest, as it comes from PyPI, reading our passports and writing its own.

usage: kest_peer.py verify FOLDER       its PassportVerifier over our passports
       kest_peer.py make FOLDER         passports of its own
       kest_peer.py extend FROM TO      its functions, run under our passports

Folders hold `<case>.passport.json` and `<case>.anchors.json`, as in check.py. What was counted is printed as JSON.
"""

import asyncio
import base64
import hashlib
import json
import pathlib
import sys
from collections import Counter

import uuid_utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from kest.core import (
    BaggageManager,
    KestEntry,
    LocalEd25519Provider,
    MockPolicyEngine,
    Passport,
    PassportVerifier,
    SimpleCache,
    StaticIdentity,
    configure,
    kest_verified,
    sign_entry,
)
from opentelemetry import baggage
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider


def b64decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def b64encode(octets):
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def payload(compact):
    return json.loads(b64decode(compact.split(".")[1]))


def digest(compact):
    return hashlib.sha256(compact.encode()).hexdigest()


def tips(entries):
    """Hashes of the entries that no other names as parent, newest first."""
    named = {parent for entry in entries for parent in payload(entry)["parent_ids"]}
    return [digest(entry) for entry in reversed(entries) if digest(entry) not in named]


def cases(folder):
    for path in sorted(pathlib.Path(folder).glob("*.passport.json")):
        case = path.name.removesuffix(".passport.json")
        yield case, path.read_text(), json.loads(path.with_name(f"{case}.anchors.json").read_text())


def write(folder, case, passport, anchors):
    (pathlib.Path(folder) / f"{case}.passport.json").write_text(passport.serialize())
    (pathlib.Path(folder) / f"{case}.anchors.json").write_text(json.dumps(anchors))


class Anchored:
    """What PassportVerifier asks of a provider. Those of the package have no `public_key`: it checks no signature
    of theirs, but it does with this one."""

    def __init__(self, jwk):
        self.public_key = Ed25519PublicKey.from_public_bytes(b64decode(jwk["x"]))


def anchors_of(*providers):
    return {
        provider.get_identity(): {
            "keys": [{"kty": "OKP", "crv": "Ed25519", "x": b64encode(provider.private_key.public_key().public_bytes_raw())}]
        }
        for provider in providers
    }


def accepts(entries, providers):
    try:
        return PassportVerifier.verify(Passport(entries=entries), providers) is True
    except ValueError:
        return False


def spoiled(entries):
    """Passports made from a good one that its verifier must refuse."""
    if len(entries) > 1:
        yield "reordered", list(reversed(entries))
    if len(entries) > 1 and payload(entries[1])["parent_ids"] == [digest(entries[0])]:
        yield "truncated", entries[1:]
    header, body, signature = entries[-1].split(".")
    changed = b64decode(body).replace(b'"trust_score":', b'"trust_score":1', 1)
    yield "payload", entries[:-1] + [".".join([header, b64encode(changed), signature])]
    changed = bytes([b64decode(signature)[0] ^ 1]) + b64decode(signature)[1:]
    yield "signature", entries[:-1] + [".".join([header, body, b64encode(changed)])]


def verify(folder):
    counted, read = Counter(), {}
    for case, text, anchors in cases(folder):
        passport = Passport.deserialize(text)
        providers = {principal: Anchored(jwks["keys"][0]) for principal, jwks in anchors.items()}
        if not passport.entries or not accepts(passport.entries, providers):
            sys.exit(f"disagreement: {case}: PassportVerifier refuses it")
        counted["accepted"] += 1
        for what, entries in spoiled(passport.entries):
            if accepts(entries, providers):
                sys.exit(f"disagreement: {case}: PassportVerifier accepts it {what}")
            counted[f"refused {what}"] += 1
        cache = SimpleCache()
        packed = BaggageManager.pack(passport, cache=cache)
        if BaggageManager.unpack(packed.get, cache=cache).entries != passport.entries:
            sys.exit(f"disagreement: {case}: it does not survive its baggage")
        read[case] = {"trust_scores": passport.trust_scores, "taints": sorted(passport.accumulated_taints)}
    print(json.dumps({"counted": counted, "read": read}, sort_keys=True))


def ambient(**members):
    context = otel_context.get_current()
    for name, value in members.items():
        context = baggage.set_baggage(f"kest.{name}", value, context=context)
    return otel_context.attach(context)


def captured(cache=None):
    return BaggageManager.unpack(baggage.get_baggage, cache=cache)


def make(folder):
    first, second = LocalEd25519Provider(), StaticIdentity("arn:aws:sts::123456789012:assumed-role/ordérs/i-1")
    cache = SimpleCache()
    configure(engine=MockPolicyEngine(), identity=first, cache=cache, clear=True)

    @kest_verified(policy="kest/allow_trusted", origin="user_input", added_taints=["unverified", "contains_pii", "é"])
    def receive(order):
        return screen(order, 1250)

    @kest_verified(
        policy=["a", "b"],
        identity=second,
        removed_taints=["unverified"],
        # The amount becomes a label that is no string.
        context_map={name: {"key": name, "persist": True} for name in ("order", "amount")},
    )
    def screen(order, amount):
        return settle()

    @kest_verified(policy="kest/allow_trusted")
    def settle():
        return captured(cache)

    @kest_verified(policy="kest/allow_trusted", origin="internal")
    async def outer():
        return await inner()

    @kest_verified(policy="kest/allow_trusted", identity=second)
    async def inner():
        return captured(cache)

    both = anchors_of(first, second)
    write(folder, "chain", receive("№ 17 \u2028 \U0001f600 \"quoted\""), both)
    write(folder, "async", asyncio.run(outer()), both)
    token = ambient(user="zoë", agent="checkout")
    write(folder, "with_identity", receive("18"), both)
    otel_context.detach(token)

    def long(left):
        step = kest_verified(policy="kest/allow_trusted", origin="system" if left == 40 else None)
        return step(lambda: long(left - 1) if left else captured(cache))()

    write(folder, "claim_checked", long(40), both)

    trace.set_tracer_provider(TracerProvider())
    write(folder, "with_trace", receive("19"), both)

    def entry(provider, name, parents):
        made = KestEntry(
            entry_id=str(uuid_utils.uuid7()),
            operation=name,
            classification="system",
            trust_score=100,
            parent_ids=parents,
            labels={"principal": provider.get_identity()},
        )
        return sign_entry(made, provider)

    a, b = entry(first, "a", ["0"]), entry(second, "b", ["0"])
    c = entry(first, "c", [digest(a), digest(b)])
    d = entry(second, "d", [digest(c), digest(a)])
    write(folder, "fan_in", Passport(entries=[a, b, c, d]), both)


def extend(source, target):
    """Runs a chain of two Python functions whose ambient lineage is ours, all tips of it."""
    provider = StaticIdentity("spiffe://python.example/worker")
    cache = SimpleCache()
    configure(engine=MockPolicyEngine(), identity=provider, cache=cache, clear=True)

    @kest_verified(policy="kest/allow_trusted", added_taints=["seen_by_python"])
    def take():
        return hand_on()

    @kest_verified(policy="kest/allow_trusted")
    def hand_on():
        return captured(cache)

    for case, text, anchors in cases(source):
        passport = Passport.deserialize(text)
        members = BaggageManager.pack(passport, cache=cache) | {"kest.chain_tip": ", ".join(tips(passport.entries))}
        token = ambient(**{name.removeprefix("kest."): value for name, value in members.items()})
        try:
            longer = take()
        finally:
            otel_context.detach(token)
        write(target, case, longer, anchors | anchors_of(provider))


if __name__ == "__main__":
    {"verify": verify, "make": make, "extend": extend}[sys.argv[1]](*sys.argv[2:])
