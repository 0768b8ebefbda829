package route

// CommandOp is what a route command does.
type CommandOp uint8

const (
	RouteAdd    CommandOp = iota // route add <svc> <src> <dst>[ weight <w>][ tags "t1,t2"][ opts "k=v k2=v2"]
	RouteDel                     // route del <svc>[ <src>[ <dst>]] | route del <svc> tags "t" | route del tags "t"
	RouteWeight                  // route weight <svc> <src> weight <w>[ tags "t"] | route weight <src> weight <w> tags "t"
)

// Command is one parsed line of the route command language. Which fields are
// set depends on Op; "" and nil say that the line does not name it.
type Command struct {
	Op      CommandOp
	Service string
	// Rule is the host, path and options of src and opts; Rule.Path is "" when
	// the line names no src. Host is lower case in all commands (Fabio lowered
	// it only in add).
	Rule Rule
	// Dst is the destination as it was written ("http://10.0.0.7:8080/"), Addr
	// its host:port; the scheme is in Rule.Options.Proto. Where Dst is the URL
	// of a redirect, Addr is "".
	Dst, Addr string
	// Weight is the fixed share; < 0 when the line names none. Of RouteAdd it
	// is Rule.Options.Weight too.
	Weight float64
	// Tags are those that a target of RouteAdd has; RouteDel and RouteWeight are
	// about targets that carry all of them.
	Tags []string

	Source string // where the text came from, such as a KV key
	Line   int    // in Source, from 1
}

// Overrides are the commands of all sources in the order in which they apply,
// and what was refused in them. They are immutable; nil is none.
type Overrides struct {
	Commands []Command
	Problems []Problem
}
