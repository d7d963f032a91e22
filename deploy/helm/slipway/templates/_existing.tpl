{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/*
Whether a cluster answers, so that what is not found is not there: every namespace has this ConfigMap, from Kubernetes itself.
`helm template` finds nothing. Gives "true" or nothing.
*/}}
{{- define "slipway.clusterAnswers" -}}
{{- if lookup "v1" "ConfigMap" .Release.Namespace "kube-root-ca.crt" }}true{{ end -}}
{{- end }}

{{/*
Whether the volume is there before this release makes what it makes. Where no cluster says so, an upgrade has a claim.
Gives "true" or nothing.
*/}}
{{- define "slipway.claimThere" -}}
{{- if eq .Values.volume.mode "existingClaim" }}true
{{- else if ne .Values.volume.mode "claim" }}
{{- else if include "slipway.clusterAnswers" . }}{{ if lookup "v1" "PersistentVolumeClaim" .Release.Namespace (include "slipway.claimName" .) }}true{{ end }}
{{- else if .Release.IsUpgrade }}true{{ end -}}
{{- end }}

{{/* What pods of this release wait for, and somebody else makes, by the value that names it: kind, name, key, how. */}}
{{- define "slipway.existing" -}}
{{- range $value, $one := include "slipway.secrets" . | fromYaml }}
{{ $value }}.existingSecret: {kind: Secret, name: {{ $one.existingSecret | quote }}, key: {{ $one.secretKey | quote }}, keyValue: {{ $value }}.secretKey}
{{- end }}
{{- with .Values.program.existingConfigMap }}
program.existingConfigMap: {kind: ConfigMap, name: {{ . | quote }}}
{{- end }}
{{- range (include "slipway.variants" . | fromYaml).variants }}
{{- if eq .kind "configMap" }}
artifacts.{{ .key }}.existingConfigMap: {kind: ConfigMap, name: {{ (index $.Values.artifacts .key).existingConfigMap | quote }}, key: {{ .file | quote }}, keyValue: artifacts.{{ .key }}.name}
{{- end }}
{{- end }}
{{- with .Values.gate }}
{{- if and .existingConfigMap (not (kindIs "invalid" .floor)) }}
gate.existingConfigMap: {kind: ConfigMap, name: {{ .existingConfigMap | quote }}, key: {{ .examples | quote }}, keyValue: gate.examples}
{{- end }}
{{- end }}
{{- with .Values.volume.existingClaim }}
volume.existingClaim: {kind: PersistentVolumeClaim, name: {{ . | quote }}}
{{- end }}
{{- end }}

{{/* The values that name a Secret and a key in it, where it is read. */}}
{{- define "slipway.secrets" -}}
{{- if not .Values.lm.keyless }}
lm: {{ pick .Values.lm "existingSecret" "secretKey" | toJson }}
{{- end }}
{{- with .Values.retrieval }}
{{- if and (ne .mode "none") .embedding.existingSecret }}
retrieval.embedding: {{ pick .embedding "existingSecret" "secretKey" | toJson }}
{{- end }}
{{- if and (eq .mode "qdrant") .qdrant.existingSecret }}
retrieval.qdrant: {{ pick .qdrant "existingSecret" "secretKey" | toJson }}
{{- end }}
{{- end }}
{{- with .Values.loop }}
{{- if and .enabled .judge.existingSecret }}
loop.judge: {{ pick .judge "existingSecret" "secretKey" | toJson }}
{{- end }}
{{- end }}
{{- end }}

{{/* Guards against what is not there: pods would wait for it, the hook until its deadline. Gives nothing. */}}
{{- define "slipway.validateExisting" -}}
{{- if and .Values.requireExisting (include "slipway.clusterAnswers" .) -}}
{{- $namespace := .Release.Namespace -}}
{{- range $value, $wanted := include "slipway.existing" . | fromYaml -}}
{{- $found := lookup "v1" $wanted.kind $namespace $wanted.name -}}
{{- if not $found -}}
{{- $how := ternary (printf " with `kubectl create secret generic %s --namespace %s --from-file=%s=FILE`" $wanted.name $namespace (default "" $wanted.key)) "" (eq $wanted.kind "Secret") -}}
{{- fail (printf "%s is %s, which is no %s of the namespace %s: make it%s, or set requireExisting=false where it is made later" $value $wanted.name $wanted.kind $namespace $how) -}}
{{- end -}}
{{- $keys := concat (keys (default dict $found.data)) (keys (default dict $found.binaryData)) -}}
{{- if and $wanted.key (not (has $wanted.key $keys)) }}{{ fail (printf "%s is %s, a %s without the key %s: add that key to it, or name another by %s (it has: %s)" $value $wanted.name $wanted.kind $wanted.key $wanted.keyValue ($keys | sortAlpha | join ", " | default "none")) }}{{ end -}}
{{- end -}}
{{- if and .Release.IsUpgrade (eq .Values.volume.mode "claim") (not (include "slipway.claimThere" .)) -}}
{{- range $variant, $artifact := (include "slipway.variants" . | fromYaml).variants -}}
{{- if eq $artifact.kind "path" }}{{ fail (printf "variants.%s.artifact is %s, a file on a volume that is not there yet, for this upgrade makes the claim %s: upgrade to volume.mode=claim alone, put the file there, and name the artifact in the next upgrade" $variant $artifact.key (include "slipway.claimName" $)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
