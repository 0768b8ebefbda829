// Package consul reads what is running from Consul, and registers services in it.
//
// It is the only importer of Consul's Go client. Service authors use the small
// registration part ([New], [Client.Register], [Client.Deregister],
// [Client.Run]); the balancer uses the [Watcher] and the KV functions.
//
// A Watcher follows services in one of three ways, by how many there are and how
// the agent is reached: an open query for each on a connection of its own; the
// same over HTTP/2, 200 to a connection, where the agent speaks HTTPS; or the
// bells, three open queries that ring for any change and whose differences name
// the service, beside a slow sweep over all. [WatchStatus] says which it is. One
// goroutine owns all of its state; an answer that takes instances away must be
// confirmed before it counts.
package consul
