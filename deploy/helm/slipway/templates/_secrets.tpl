{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* The Secrets of yours that pods read, by the value that names each: name, key, and the value that names the key. */}}
{{- define "slipway.secrets" -}}
{{- if not .Values.lm.keyless }}
lm.existingSecret: {name: {{ .Values.lm.existingSecret | quote }}, key: {{ .Values.lm.secretKey | quote }}, keyValue: lm.secretKey}
{{- end }}
{{- with .Values.retrieval }}
{{- if and (ne .mode "none") .embedding.existingSecret }}
retrieval.embedding.existingSecret: {name: {{ .embedding.existingSecret | quote }}, key: {{ .embedding.secretKey | quote }}, keyValue: retrieval.embedding.secretKey}
{{- end }}
{{- if and (eq .mode "qdrant") .qdrant.existingSecret }}
retrieval.qdrant.existingSecret: {name: {{ .qdrant.existingSecret | quote }}, key: {{ .qdrant.secretKey | quote }}, keyValue: retrieval.qdrant.secretKey}
{{- end }}
{{- end }}
{{- with .Values.loop }}
{{- if and .enabled .judge.existingSecret }}
loop.judge.existingSecret: {name: {{ .judge.existingSecret | quote }}, key: {{ .judge.secretKey | quote }}, keyValue: loop.judge.secretKey}
{{- end }}
{{- end }}
{{- end }}

{{/*
Whether a cluster answers, so that what is not found is not there: every namespace has this ConfigMap, from Kubernetes itself.
`helm template` finds nothing. Gives "true" or nothing.
*/}}
{{- define "slipway.clusterAnswers" -}}
{{- if lookup "v1" "ConfigMap" .Release.Namespace "kube-root-ca.crt" }}true{{ end -}}
{{- end }}

{{/* Guards against Secrets that are not there: pods would wait for them, and a rollout stall. Gives nothing. */}}
{{- define "slipway.validateSecrets" -}}
{{- if and .Values.requireSecrets (include "slipway.clusterAnswers" .) -}}
{{- range $value, $wanted := include "slipway.secrets" . | fromYaml -}}
{{- $found := lookup "v1" "Secret" $.Release.Namespace $wanted.name -}}
{{- if not $found }}{{ fail (printf "%s is %s, which is no Secret of the namespace %s: make it with `kubectl create secret generic %s --namespace %s --from-file=%s=FILE`, or set requireSecrets=false where it is made later" $value $wanted.name $.Release.Namespace $wanted.name $.Release.Namespace $wanted.key) }}{{ end -}}
{{- if not (hasKey (default dict $found.data) $wanted.key) }}{{ fail (printf "%s is %s, a Secret without the key %s: add that key to it, or name another by %s (it has: %s)" $value $wanted.name $wanted.key $wanted.keyValue (keys (default dict $found.data) | sortAlpha | join ", " | default "none")) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}
