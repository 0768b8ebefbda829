package proxy

import "strings"

// maxHops is how many balancers a request may pass.
const maxHops = 16

// hopsHeader names the balancers that a request has passed, so that one which
// meets itself ends the loop. Its value cannot be used against others: who
// sends a name that is not its own is refused by that balancer, and only there.
const hopsHeader = "X-Lb-Hops"

// cameBack reports whether hops names self, or so many balancers that one of
// them must be in a circle.
func cameBack(hops, self string) bool {
	n := 0
	for hop := range strings.SplitSeq(hops, ",") {
		if n++; strings.TrimSpace(hop) == self || n >= maxHops {
			return true
		}
	}
	return false
}

// withSelf continues the list of balancers that a request has passed.
func withSelf(hops []string, self string) string {
	if len(hops) == 0 {
		return self
	}
	return strings.Join(hops, ", ") + ", " + self
}
