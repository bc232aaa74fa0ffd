"""Makes tests/vectors/verify_signatures: entries signed with ECDSA and RSA by pyca/cryptography.

usage: sign_vectors.py FOLDER

ECDSA and PSS signatures are random, so the files are made once and kept: running this again gives other keys and
other signatures with the same verdicts. Private keys are not kept.
"""

import base64
import copy
import datetime
import hashlib
import json
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

NOW_MS = 1_795_304_503_000
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def b64(octets):
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def number(value, length=None):
    return b64(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def canonical(value):
    # RFC 8785 for what is here: ASCII text and whole numbers.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Workload:
    def __init__(self, name, key, alg):
        self.id, self.key, self.alg = f"spiffe://example.org/{name}", key, alg
        public = key.public_key().public_numbers()
        if isinstance(key, rsa.RSAPrivateKey):
            self.members = {"e": number(public.e), "kty": "RSA", "n": number(public.n)}
        else:
            self.size = key.curve.key_size // 8
            curve = f"P-{key.curve.key_size}"
            x, y = number(public.x, self.size), number(public.y, self.size)
            self.members = {"crv": curve, "kty": "EC", "x": x, "y": y}

    def thumbprint(self):
        return b64(hashlib.sha256(canonical(self.members)).digest())

    def anchors(self, **more):
        return {self.id: {"keys": [{**self.members, **more}]}}

    def raw(self, octets):
        """Signs as RFC 7518 §3.3 to §3.5 say."""
        if self.alg == "RS256":
            return self.key.sign(octets, padding.PKCS1v15(), hashes.SHA256())
        if self.alg == "PS256":
            return self.pss(octets, 32)
        return self.fixed(self.ecdsa(octets))

    def pss(self, octets, salt):
        return self.key.sign(octets, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())

    def ecdsa(self, octets):
        digest = hashes.SHA384() if self.alg == "ES384" else hashes.SHA256()
        return self.key.sign(octets, ec.ECDSA(digest))

    def fixed(self, der):
        return b"".join(part.to_bytes(self.size, "big") for part in decode_dss_signature(der))

    def header(self, **more):
        return {"alg": self.alg, "kid": self.thumbprint(), "typ": "JWS", **more}

    def entry(self, payload, header=None, sign=None):
        head = canonical(header or self.header())
        octets = f"{b64(head)}.{b64(canonical(payload))}".encode()
        return f"{octets.decode()}.{b64((sign or self.raw)(octets))}"

    def root(self, at=0):
        return {
            "added_taints": [],
            "classification": "system",
            "content_hash": "",
            "entry_id": f"019a0b0c-0d0e-7f10-8112-{at:012x}",
            "environment": {},
            "input_hash": "",
            "labels": {"principal": self.id, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"},
            "metadata": {
                "function": "shop::orders::process",
                "policies": {
                    "kest/allow_trusted":
                        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
                },
                "trust": {"model": "guide", "override": None, "source_type": "internal"},
            },
            "operation": "process",
            "otel_context": {},
            "parent_ids": ["0"],
            "policy_context": {
                "app_policies": [],
                "deviations": [],
                "enterprise_policies": [],
                "function_policies": ["kest/allow_trusted"],
                "platform_policies": [],
            },
            "removed_taints": [],
            "runtime": {"name": "kest-rust", "version": "0.1.0"},
            "schema_version": "0.3.0",
            "taints": [],
            "timestamp_ms": NOW_MS + at,
            "trust_score": 80,
        }

    def child(self, at, parent):
        payload = self.root(at)
        payload["parent_ids"] = [hashlib.sha256(parent.encode()).hexdigest()]
        payload["metadata"]["trust"]["source_type"] = None
        return payload

    def certificate(self):
        name = x509.Name([])
        start = datetime.datetime(2026, 11, 1, tzinfo=datetime.timezone.utc)
        built = x509.CertificateBuilder(name, name, self.key.public_key(), 1, start, start.replace(year=2036))
        san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(self.id)])
        made = built.add_extension(san, critical=True).sign(self.key, hashes.SHA256())
        return base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode()


def flip(octets, at=-1):
    changed = bytearray(octets)
    changed[at] ^= 1
    return bytes(changed)


def foreign(payload):
    payload = copy.deepcopy(payload)
    payload["metadata"] = None
    payload["runtime"] = {"name": "kest-python", "version": "0.3.0"}
    return payload


def main(folder):
    p256, other = (Workload(name, ec.generate_private_key(ec.SECP256R1()), "ES256") for name in ("p256", "other"))
    p384 = Workload("p384", ec.generate_private_key(ec.SECP384R1()), "ES384")
    rsa2048 = Workload("rsa2048", rsa.generate_private_key(65537, 2048), "RS256")
    pss = Workload("pss", rsa.generate_private_key(65537, 3072), "PS256")
    small = Workload("rsa1024", rsa.generate_private_key(65537, 1024), "RS256")
    workloads = [p256, p384, rsa2048, pss]

    def case(name, anchors, passport, failure=None, entry=0, step="signatures"):
        expect = failure and {"entry": entry, "failure": failure, "step": step}
        vector = {"anchors": anchors, "expect": expect, "name": name, "options": {}, "passport": passport}
        text = json.dumps(vector, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")

    def wrong(name, workload, sign, anchors=None):
        case(name, anchors or workload.anchors(), [workload.entry(workload.root(), sign=sign)], "Signature")

    everyone, chain = {}, []
    for at, workload in enumerate(workloads):
        everyone |= workload.anchors()
        chain.append(workload.entry(workload.child(at, chain[-1]) if chain else workload.root()))
    case("accepted_all", everyone, chain)

    for workload in workloads:
        name, anchors = workload.alg.lower(), workload.anchors()
        first = workload.entry(workload.root())
        case(f"accepted_{name}", anchors, [first, workload.entry(workload.child(1, first))])
        case(f"accepted_{name}_key_with_alg", workload.anchors(alg=workload.alg), [first])
        unnamed = workload.entry(foreign(workload.root()), header={"alg": workload.alg})
        case(f"accepted_{name}_foreign", anchors, [unnamed])
        chained = workload.entry(workload.root(), header=workload.header(x5c=[workload.certificate()]))
        case(f"accepted_{name}_x5c", anchors, [chained])
        wrong(f"{name}_bit_off", workload, lambda octets: flip(workload.raw(octets)))
        wrong(f"{name}_first_bit_off", workload, lambda octets: flip(workload.raw(octets), 0))
        wrong(f"{name}_payload_changed", workload, lambda octets: workload.raw(flip(octets)))
        wrong(f"{name}_cut", workload, lambda octets: workload.raw(octets)[:-1])
        wrong(f"{name}_longer", workload, lambda octets: workload.raw(octets) + b"\0")
        second = workload.entry(workload.child(1, first), sign=lambda octets: flip(workload.raw(octets)))
        case(f"{name}_second_entry_bit_off", anchors, [first, second], "Signature", 1)

    for workload in (p256, p384):
        name = workload.alg.lower()
        wrong(f"{name}_in_der", workload, workload.ecdsa)
        wrong(f"{name}_of_zeros", workload, lambda octets: bytes(2 * workload.size))

        def shorter(octets):
            while (fixed := workload.raw(octets))[0] != 0:
                pass
            return fixed

        case(f"accepted_{name}_leading_zero", workload.anchors(), [workload.entry(workload.root(), sign=shorter)])
        wrong(f"{name}_leading_zero_left_out", workload, lambda octets: shorter(octets)[1:])

    # RFC 7518 §3.4 does not ask for the smaller s; the repeated entry id is what tells the two apart.
    def other_s(octets):
        r, s = decode_dss_signature(p256.ecdsa(octets))
        return p256.fixed(encode_dss_signature(r, P256_ORDER - s))

    payload = p256.root()
    case("accepted_es256_either_s", p256.anchors(), [p256.entry(payload, sign=other_s)])
    both = [p256.entry(payload), p256.entry(payload, sign=other_s)]
    case("es256_twice", p256.anchors(), both, "RepeatedEntryId", 1, "links")
    wrong("es256_by_another_key", p256, other.raw)
    chained = p256.entry(payload, header=p256.header(x5c=[other.certificate()]))
    case("es256_x5c_of_another_key", p256.anchors(), [chained], "CertificateKey")

    wrong("ps256_salt_0", pss, lambda octets: pss.pss(octets, 0))
    wrong("ps256_salt_20", pss, lambda octets: pss.pss(octets, 20))
    wrong("ps256_salt_longest", pss, lambda octets: pss.pss(octets, padding.PSS.MAX_LENGTH))
    mgf1_sha1 = padding.PSS(padding.MGF1(hashes.SHA1()), 32)
    wrong("ps256_mgf1_sha1", pss, lambda octets: pss.key.sign(octets, mgf1_sha1, hashes.SHA256()))
    wrong("rs256_sha512", rsa2048, lambda octets: rsa2048.key.sign(octets, padding.PKCS1v15(), hashes.SHA512()))
    wrong("rs256_signed_as_ps256", rsa2048, lambda octets: rsa2048.pss(octets, 32))
    wrong("ps256_signed_as_rs256", pss, lambda octets: pss.key.sign(octets, padding.PKCS1v15(), hashes.SHA256()))

    # The key decides, RFC 8725 §3.1: whatever the header says and whatever signed.
    for workload in workloads:
        for alg in ("EdDSA", "ES256", "ES384", "RS256", "PS256"):
            if alg == workload.alg or {alg, workload.alg} == {"RS256", "PS256"}:
                continue
            confused = workload.entry(workload.root(), header=workload.header() | {"alg": alg})
            name = f"{workload.alg.lower()}_key_under_{alg.lower()}"
            case(name, workload.anchors(), [confused], "AlgorithmMismatch")
    for workload, alg in ((rsa2048, "PS256"), (pss, "RS256")):
        name = f"{workload.alg.lower()}_key_with_alg_under_{alg.lower()}"
        confused = workload.entry(workload.root(), header=workload.header() | {"alg": alg})
        case(name, workload.anchors(alg=workload.alg), [confused], "AlgorithmMismatch")

    case("rs256_of_1024_bits", small.anchors(), [small.entry(small.root())], "Malformed", None, "anchors")
    off_curve = copy.copy(p256)
    off_curve.members = p256.members | {"x": p256.members["y"], "y": p256.members["x"]}
    header = p256.header(kid=off_curve.thumbprint())
    case("es256_key_off_its_curve", off_curve.anchors(), [p256.entry(payload, header)], "Malformed", None, "anchors")


main(pathlib.Path(sys.argv[1]))
