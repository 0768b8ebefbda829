// Package admin says WHAT IS GOING ON: the admin listener's JSON API, health
// and readiness, metrics and profiles. It only looks, but for what people ask it
// to write into Consul: route commands and canary documents.
package admin
