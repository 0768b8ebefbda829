// Package admin says WHAT IS GOING ON: the admin listener's JSON API, health
// and readiness, metrics and profiles. It only looks; it changes nothing.
package admin
