// Package devconsul is a single-node, in-memory subset of Consul's HTTP API,
// version 1.15: what `lb dev` runs when there is no Consul, and what tests
// break on purpose.
//
// It knows one datacenter (dc1) and one node (dev), registration of services
// with HTTP, TCP and TTL checks, maintenance mode, the catalog and health
// views, KV with check-and-set and locks, sessions, blocking queries with an
// index per resource, and Consul's words for errors. It knows no ACLs (a token
// is accepted and ignored), no filter expressions, no Connect, no DNS, no
// gossip and no events; what it does not know answers as an unknown URL or
// field does in Consul, or says so in a sentence.
//
// Where it differs from Consul on purpose:
//
//   - a check runs at once when it is registered, not after a random part of
//     its interval;
//   - intervals below one second and DeregisterCriticalServiceAfter below one
//     minute are honoured as written;
//   - a registration is in the catalog when the request returns: there is no
//     anti-entropy between agent and servers.
//
// One contract test holds the conversations that this package has in common
// with a real agent.
package devconsul
