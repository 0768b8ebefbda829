// Package e2e tests the real binaries against a real Consul: every promise of
// the README and of docs/TESTING.md that spans processes is shown here.
package e2e
