# The image of the store: `quorate`, which is also `etcd`, and `etcdctl` beside it. Its build context is the folder that
# context.sh fills, with programs that are built already:
#
#   deploy/context.sh CONTEXT && docker build -f deploy/quorate.Dockerfile -t REGISTRY/quorate:VERSION CONTEXT
#
# There is no shell, and no user that could become root. Authorities of the public internet are not needed: the store
# trusts those that its flags name.
FROM scratch
COPY quorate/ /
COPY --chown=65532:65532 data/ /var/lib/quorate/
ENV PATH=/usr/local/bin
USER 65532:65532
# The default --data-dir is a folder in here.
WORKDIR /var/lib/quorate
EXPOSE 2379 2380 2381
ENTRYPOINT ["/usr/local/bin/quorate"]
