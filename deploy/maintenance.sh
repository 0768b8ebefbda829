#!/bin/sh
# maintenance.sh on|off [INSTANCE]: Consul's maintenance mode for one instance
# of the demo service. Without INSTANCE: on takes the first one in service,
# off puts back every one that is out.
# https://developer.hashicorp.com/consul/api-docs/agent/service#enable-maintenance-mode
set -eu
consul=${CONSUL_HTTP_ADDR:-http://127.0.0.1:8500}
case $consul in http*) ;; *) consul=http://$consul ;; esac
get() { curl -fsS "$consul$1"; }
put() { curl -fsS -X PUT "$consul$1"; }
ids() { grep -o '"ID": *"web-[^"]*"' | cut -d'"' -f4 | sort -u; }

case ${1:-} in
on)
	out=$(get /v1/agent/checks | grep -o '_service_maintenance:[^"]*' | cut -d: -f2 | sort -u)
	id=${2:-$(get /v1/agent/services | ids | { [ -n "$out" ] && grep -vF "$out" || cat; } | head -n 1)}
	[ -n "$id" ] || { echo "no instance of web is in service at $consul" >&2; exit 1; }
	put "/v1/agent/service/maintenance/$id?enable=true&reason=make+maintenance-on"
	echo "$id is in maintenance: new requests go elsewhere (make maintenance-off puts it back)"
	;;
off)
	for id in ${2:-$(get /v1/agent/checks | grep -o '_service_maintenance:[^"]*' | cut -d: -f2 | sort -u)}; do
		put "/v1/agent/service/maintenance/$id?enable=false"
		echo "$id is back"
	done
	;;
*) echo "usage: $0 on|off [INSTANCE]" >&2; exit 2 ;;
esac
