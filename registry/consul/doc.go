// Package consul reads what is running from Consul, and registers services in it.
//
// It is the only importer of Consul's Go client. Service authors use the small
// registration part ([New], [Client.Register], [Client.Deregister],
// [Client.Run]); the balancer uses the [Watcher] and the KV functions.
package consul
