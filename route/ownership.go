package route

// OwnershipMode says whether a service may claim what another has claimed.
type OwnershipMode uint8

const (
	// OwnershipOff lets services share routes, as in Fabio.
	OwnershipOff OwnershipMode = iota
	// FirstOwner lets the first owner of a host and path keep it and all that
	// is below it; what others claim there is refused, unless a rule allows it.
	FirstOwner
	// Strict refuses every claim that no rule allows.
	Strict
)

// OwnershipRule allows services to claim hosts and paths.
type OwnershipRule struct {
	// Services are patterns of service names: a name, or one with "*" for any
	// run of characters.
	Services []string
	// Claims are what they may claim, each as [host]/path: that path of that
	// host and what is below it. A host of "*.suffix" allows every host below.
	Claims []string
}

// Ownership is the operator's policy of who may claim what.
type Ownership struct {
	Mode  OwnershipMode
	Rules []OwnershipRule
	// Owners names the service that owns a claim ("host/path") from an earlier
	// table or process: it keeps it although another was registered earlier.
	Owners map[string]string
}
