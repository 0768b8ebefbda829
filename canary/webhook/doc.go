// Package webhook tells addresses of operators what happens to rollouts, and
// never makes a rollout wait for them.
package webhook
