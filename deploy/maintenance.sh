#!/bin/sh
# maintenance.sh on|off [INSTANCE]: Consul's maintenance mode for one instance
# of web in the compose cluster. Without INSTANCE: on takes the first of v1 that
# is in service, off puts back every one that is out. CONSUL_HTTP_ADDR is not
# looked at: it may name a Consul that others depend on.
# https://developer.hashicorp.com/consul/api-docs/agent/service#enable-maintenance-mode
set -eu
consul=http://127.0.0.1:${CONSUL_PORT:-8500}
get() { curl -fsSG "$consul$1" --data-urlencode "filter=$2"; }
maintenance() { # ID QUERY
	curl -fsS -X PUT "$consul/v1/agent/service/maintenance/$1?$2" ||
		{ echo "no instance $1 at $consul" >&2; exit 1; }
}
all=$(get /v1/agent/services 'Service == "web" and Meta.version == "v1"') ||
	{ echo "is the cluster up? (make up)" >&2; exit 1; }
out=$(get /v1/agent/checks 'ServiceName == "web"' | grep -o '_service_maintenance:[^"]*' | cut -d: -f2 | sort -u)

case ${1:-} in
on)
	id=${2:-$(echo "$all" | grep -o '"ID": *"[^"]*"' | cut -d'"' -f4 | sort -u | { [ -n "$out" ] && grep -vF "$out" || cat; } | head -n 1)}
	[ -n "$id" ] || { echo "no instance of v1 is in service at $consul" >&2; exit 1; }
	maintenance "$id" 'enable=true&reason=make+maintenance-on'
	echo "$id is in maintenance: new requests go elsewhere (make maintenance-off puts it back)"
	;;
off)
	[ -n "${2:-$out}" ] || echo "no instance of web is in maintenance"
	for id in ${2:-$out}; do
		maintenance "$id" enable=false
		echo "$id is back"
	done
	;;
*) echo "usage: $0 on|off [INSTANCE]" >&2; exit 2 ;;
esac
