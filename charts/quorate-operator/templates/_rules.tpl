{{/*
The operator's rights where it runs clusters. The operator uses each right, and asks only for objects with its own labels.
It never changes the spec of a cluster, and never deletes a volume claim.
*/}}
{{- define "operator.rules" -}}
- apiGroups: [quorate.dev]
  resources: [quorateclusters]
  verbs: [get, list, watch]
- apiGroups: [quorate.dev]
  resources: [quoratemembers]
  verbs: [create, delete, list, watch]
- apiGroups: [quorate.dev]
  resources: [quorateclusters/status, quoratemembers/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete, list, patch, watch]
- apiGroups: [""]
  resources: [persistentvolumeclaims, services]
  verbs: [create, list, patch, watch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, list, patch, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, delete, list, patch, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* The operator's rights to objects without a namespace: it looks at the node of a pod that does not run as it should. */}}
{{- define "operator.nodeRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [get]
{{- end -}}

{{/* The operator's rights in its own namespace. Kubernetes cannot narrow `create` to a name. */}}
{{- define "operator.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "operator.name" . }}]
  verbs: [get, update]
{{- end -}}
