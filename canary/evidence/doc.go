// Package evidence tells whether a canary is worse than stable, from failures
// alone and at any moment.
//
//	Recorder (one per rollout, in every balancer) → Tally → Config.Alone, Config.Pool → Finding
//
// Everything but Recorder is pure.
package evidence
