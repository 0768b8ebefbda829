// Package demo is a service to put behind a balancer: it says who answered,
// fails and slows down when it is asked to, streams, echoes WebSockets, leaves
// cleanly, and can prove which requests it has completed. A light load to go
// with it is [Load].
//
// What it answers:
//
//	/health            200; 503 while draining or after POST /health?status=critical,
//	                   429 (Consul's warning) after ?status=warning; POST ?status=passing ends both
//	/fail?rate=R       this request fails (500) with probability R, 0 to 1
//	/fail              the instance's error rate
//	POST /fail?rate=R  sets it: from now on that share of the requests to all other
//	                   paths but /health and /seen fails with 500
//	/slow?ms=N         answers after N milliseconds, at most 60000
//	/stream            server-sent events: one tick each ?ms= (1000), ?n= of them (until the client leaves)
//	/ws                a WebSocket that echoes
//	/seen              the ids of requests, how often each was received and completed; ?id=a&id=b only those
//	everything else    JSON: service, version, instance, method, path, query, headers, and the
//	                   id and size of the body
package demo
