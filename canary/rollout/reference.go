package rollout

import "strings"

// IsReference tells whether a text of a [Notify] says where a secret is, env:NAME
// or file:PATH, rather than what it is.
func IsReference(s string) bool {
	return strings.HasPrefix(s, "env:") || strings.HasPrefix(s, "file:")
}

// IsOwn tells whether an environment variable is the balancer's own, which no
// document may have sent.
func IsOwn(variable string) bool {
	return strings.HasPrefix(variable, "LB_") || strings.HasPrefix(variable, "CONSUL_")
}
