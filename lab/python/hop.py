"""A hop in Python: a service by FastAPI with `KestMiddleware`, and a function under `@kest_verified`.

`uvicorn hop:app` with WORKLOAD, its workload id. `POST /call` takes the plans of the hop in Rust, as far as they call
others over HTTP, and answers alike; `GET /anchors` gives its trust anchors.
"""

import base64
import json
import os

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from kest.core import (
    BaggageManager,
    KestHttpxInterceptor,
    KestMiddleware,
    LocalEd25519Provider,
    MockPolicyEngine,
    configure,
    kest_verified,
)
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider

identity = LocalEd25519Provider(os.environ["WORKLOAD"])
trace.set_tracer_provider(TracerProvider())
configure(engine=MockPolicyEngine(), identity=identity)

app = FastAPI()
app.add_middleware(KestMiddleware)
interceptor = KestHttpxInterceptor()


@app.get("/anchors")
async def anchors():
    x = base64.urlsafe_b64encode(identity.private_key.public_key().public_bytes_raw())
    key = {"kty": "OKP", "crv": "Ed25519", "x": x.decode().rstrip("=")}
    return {identity.get_identity(): {"keys": [key]}}


@app.post("/call")
async def call(request: Request):
    return await python(await request.json())


@kest_verified(policy="hop/any")
async def python(plan):
    answers = []
    for step in plan:
        status, answer = await ask(step["call"])
        if status != 200:
            failure = {"service": "python", "answered": {"status": status, "body": answer}}
            return JSONResponse(failure, status_code=502)
        answers.append(answer)
    passport = BaggageManager.unpack(baggage.get_baggage)
    return {"service": "python", "passport": passport.entries, "answers": answers}


async def ask(to):
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        request = client.build_request("POST", to["origin"] + "/call", json=to["plan"])
        response = await client.send(interceptor(request))
    try:
        return response.status_code, response.json()
    except json.JSONDecodeError:
        return response.status_code, response.text
