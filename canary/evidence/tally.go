package evidence

// Tally is what one balancer has seen of one rollout, as it is published and
// pooled. The zero Tally has seen nothing.
type Tally struct {
	// Requests and Failures are those that count, by arm: stable, canary.
	Requests [2]uint64 `json:"requests"`
	Failures [2]uint64 `json:"failures"`
	// Step counts the canary's requests since the present step began.
	Step uint64 `json:"step"`
}
