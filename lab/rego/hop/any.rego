# Whatever the hops of a test do.
package hop.any

import rego.v1

default allow := true
