#!/bin/sh
# N21: the same with the usual tools. Argument: ip or nft.
PATH=$PATH:/usr/sbin:/sbin
command -v "$1" >/dev/null || { echo "COULD NOT: no $1 here"; exit 2; }
case $1 in
ip) answer=$(ip link set lo mtu 1400 2>&1) ;;
nft) answer=$(nft flush ruleset 2>&1) ;;
esac
if [ $? -eq 0 ]; then
    echo "ESCAPED: $1 changed this network"
else
    echo "BLOCKED: $(echo "$answer" | head -n 1)"
    exit 1
fi
