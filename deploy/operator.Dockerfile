# The image of the operator. Its build context is the folder that context.sh fills, with programs that are built already:
#
#   deploy/context.sh CONTEXT && docker build -f deploy/operator.Dockerfile -t REGISTRY/quorate-operator:VERSION CONTEXT
#
# There is no shell, and no user that could become root. Kubernetes gives the pod the authority of its API server.
FROM scratch
COPY operator/ /
ENV PATH=/usr/local/bin
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/quorate-operator"]
