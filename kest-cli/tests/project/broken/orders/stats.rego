package orders.stats

import rego.v1

default allow := false

allow if http.send({"method": "GET", "url": "https://example.org"}).status_code == 200
