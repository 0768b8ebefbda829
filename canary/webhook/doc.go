// Package webhook tells addresses of operators what happens to rollouts, and
// never makes a rollout wait for them.
//
//	Notifier.Notify(event, plan) → a queue for each address → POST, three tries
package webhook
