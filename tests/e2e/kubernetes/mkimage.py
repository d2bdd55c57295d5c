#!/usr/bin/env python3
"""mkimage.py OUT.tar NAME:TAG ENTRYPOINT SRC=DEST [SRC=DEST...]

Makes an OCI image archive of one layer out of files, for `ctr images import`. The same files give the same archive.
"""

import hashlib
import io
import json
import os
import sys
import tarfile

ETC = {
    "etc/passwd": "root:x:0:0:root:/:/\nuser:x:65532:65532:user:/:/\n",
    "etc/group": "root:x:0:\nuser:x:65532:\n",
}


def digest(blob):
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def encode(value):
    return json.dumps(value, sort_keys=True).encode()


def add_file(tar, name, blob, mode):
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = mode, len(blob)
    tar.addfile(entry, io.BytesIO(blob))


def add_directory(tar, seen, path, mode=0o755):
    parts = path.strip("/").split("/")
    for end in range(1, len(parts) + 1):
        directory = "/".join(parts[:end])
        if directory and directory not in seen:
            seen.add(directory)
            entry = tarfile.TarInfo(directory + "/")
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)


def make_layer(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        seen = set()
        add_directory(tar, seen, "tmp", 0o1777)
        for name in ("etc", "data"):
            add_directory(tar, seen, name)
        for name, text in ETC.items():
            add_file(tar, name, text.encode(), 0o644)
        for source, _, destination in (f.partition("=") for f in files):
            add_directory(tar, seen, os.path.dirname(destination))
            with open(source, "rb") as f:
                add_file(tar, destination.strip("/"), f.read(), 0o755)
    return out.getvalue()


def descriptor(kind, blob):
    return {"mediaType": "application/vnd.oci.image." + kind, "digest": digest(blob), "size": len(blob)}


def main(out, name, entrypoint, *files):
    layer = make_layer(files)
    config = encode({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [entrypoint], "Env": ["PATH=/"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    })
    manifest = encode({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", config),
        "layers": [descriptor("layer.v1.tar", layer)],
    })
    named = descriptor("manifest.v1+json", manifest)
    named["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1],
    }
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [named]}
    with tarfile.open(out, "w") as tar:
        add_file(tar, "oci-layout", encode({"imageLayoutVersion": "1.0.0"}), 0o644)
        add_file(tar, "index.json", encode(index), 0o644)
        for blob in (layer, config, manifest):
            add_file(tar, "blobs/sha256/" + digest(blob).removeprefix("sha256:"), blob, 0o644)


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
