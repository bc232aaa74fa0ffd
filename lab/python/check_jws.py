"""Checks compact JWS with jwcrypto: one JSON object a line, with `jws`, `alg` and `spki` (DER in base64).

Prints the payload's length and the key's RFC 7638 thumbprint for each; exits 1 at the first that does not verify.
"""

import base64
import json
import sys

from cryptography.hazmat.primitives.serialization import load_der_public_key
from jwcrypto import jwk, jws

for line in sys.stdin:
    case = json.loads(line)
    key = jwk.JWK.from_pyca(load_der_public_key(base64.b64decode(case["spki"])))
    token = jws.JWS()
    token.allowed_algs = [case["alg"]]
    token.deserialize(case["jws"])
    try:
        token.verify(key)
    except jws.InvalidJWSSignature as error:
        sys.exit(f"does not verify: {error}")
    print(len(token.payload), key.thumbprint())
