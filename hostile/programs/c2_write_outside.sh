#!/bin/sh
# C2, C4: write where only the system may. Arguments: directories.
for directory in "$@"; do
    if (: >"$directory/wardroom-hostile") 2>/dev/null; then
        rm -f "$directory/wardroom-hostile"
        echo "ESCAPED: wrote into $directory"
        exit 0
    fi
done
echo "BLOCKED: $# directories refused"
exit 1
