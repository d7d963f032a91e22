{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Configuration that no Secret is needed for, as environment. */}}
{{- define "slipway.settings" -}}
{{- $env := dict "SLIPWAY_PROGRAM" .Values.program.path "SLIPWAY_LOG_FORMAT" "json" "SLIPWAY_LOG_LEVEL" .Values.serving.logLevel "SLIPWAY_SCRATCH_DIR" "/tmp" -}}
{{- with .Values.lm -}}
{{- $_ := set $env "SLIPWAY_LM_MODEL" .model -}}
{{- $_ := set $env "SLIPWAY_LM_BASE_URL" .endpoint -}}
{{- $_ := set $env "SLIPWAY_LM_PACING" .pacing -}}
{{- $_ := set $env "SLIPWAY_LM_PEERS_DNS" (include "slipway.headlessHost" $) -}}
{{- with .rpm }}{{ $_ := set $env "SLIPWAY_LM_RPM" . }}{{ end -}}
{{- with .tpm }}{{ $_ := set $env "SLIPWAY_LM_TPM" . }}{{ end -}}
{{- end -}}
{{- with .Values.retrieval -}}
{{- if ne .mode "none" -}}
{{- $_ := set $env "SLIPWAY_COLLECTION" .collection -}}
{{- $_ := set $env "SLIPWAY_RETRIEVAL_K" .k -}}
{{- $_ := set $env "SLIPWAY_EMBEDDING_MODEL" .embedding.model -}}
{{- $_ := set $env "SLIPWAY_EMBEDDING_DIMENSION" .embedding.dimension -}}
{{- with .embedding.endpoint }}{{ $_ := set $env "SLIPWAY_EMBEDDING_BASE_URL" . }}{{ end -}}
{{- end -}}
{{- if eq .mode "qdrant" -}}
{{- $_ := set $env "SLIPWAY_QDRANT_URL" .qdrant.url -}}
{{- $_ := set $env "SLIPWAY_QDRANT_GRPC_PORT" .qdrant.grpcPort -}}
{{- end -}}
{{- end -}}
{{- if .Values.program.existingConfigMap }}{{ $_ := set $env "PYTHONPATH" "/opt/slipway/program" }}{{ end -}}
{{- range $key, $value := merge $env (default dict .Values.config) }}
- name: {{ $key }}
  value: {{ include "slipway.text" $value | quote }}
{{- end }}
{{- end }}

{{/* What is on the volume. */}}
{{- define "slipway.folders" -}}
- name: DSPY_CACHEDIR
  value: /var/lib/slipway/cache
- name: SLIPWAY_DATA_DIR
  value: /var/lib/slipway/collections
{{- with .Values.traffic }}
{{- if .enabled }}
- name: SLIPWAY_TRAFFIC_DIR
  value: /var/lib/slipway/traffic
- name: SLIPWAY_TRAFFIC_SAMPLE
  value: {{ .sample | quote }}
- name: SLIPWAY_TRAFFIC_RETENTION_DAYS
  value: {{ include "slipway.text" .retentionDays | quote }}
{{- with .fields }}
- name: SLIPWAY_TRAFFIC_FIELDS
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The environment of a server. */}}
{{- define "slipway.serverEnv" -}}
{{- include "slipway.settings" . }}
{{- include "slipway.folders" . | nindent 0 }}
{{- include "slipway.artifactEnv" (include "slipway.variants" . | fromYaml) }}
- name: SLIPWAY_ROUTING_DIR
  value: /etc/slipway/routing
- name: SLIPWAY_ROUTING_SALT
  value: {{ .Values.variants.salt | quote }}
- name: SLIPWAY_HOST
  value: 0.0.0.0
{{- with .Values.serving }}
- name: SLIPWAY_GRPC_PORT
  value: {{ include "slipway.text" .grpcPort | quote }}
- name: SLIPWAY_METRICS_PORT
  value: {{ include "slipway.text" .metricsPort | quote }}
- name: SLIPWAY_DEFAULT_DEADLINE_SECONDS
  value: {{ include "slipway.text" .deadlineSeconds | quote }}
- name: SLIPWAY_DRAIN_SECONDS
  value: {{ include "slipway.text" .drainSeconds | quote }}
- name: SLIPWAY_CONNECTION_AGE_SECONDS
  value: {{ include "slipway.text" .connectionAgeSeconds | quote }}
- name: SLIPWAY_MAX_CONCURRENT_REQUESTS
  value: {{ include "slipway.text" .maxConcurrentRequests | quote }}
- name: SLIPWAY_REFLECTION
  value: {{ .reflection | quote }}
{{- end }}
{{- include "slipway.keys" . }}
{{- include "slipway.extraEnv" . }}
{{- end }}

{{/* Which artifacts are served, and their digests. Argument: variants. */}}
{{- define "slipway.artifactEnv" -}}
{{- range $variant, $artifact := .variants }}
{{- $key := ternary "SLIPWAY_ARTIFACT" (printf "SLIPWAY_%s_ARTIFACT" (upper $variant)) (eq $variant "stable") }}
- name: {{ $key }}
  value: {{ $artifact.path | quote }}
- name: {{ $key }}_DIGEST
  value: {{ $artifact.digest | quote }}
{{- end }}
{{- end }}

{{/* Keys of everything that a program calls. */}}
{{- define "slipway.keys" -}}
{{- if not .Values.lm.keyless }}
- name: SLIPWAY_LM_API_KEY_FILE
  value: /etc/slipway/secrets/lm/api-key
{{- end }}
{{- include "slipway.retrievalKeys" . }}
{{- end }}

{{/* Keys of embedding endpoint and Qdrant server. */}}
{{- define "slipway.retrievalKeys" -}}
{{- with .Values.retrieval }}
{{- if and (ne .mode "none") .embedding.existingSecret }}
- name: SLIPWAY_EMBEDDING_API_KEY_FILE
  value: /etc/slipway/secrets/embedding/api-key
{{- end }}
{{- if and (eq .mode "qdrant") .qdrant.existingSecret }}
- name: SLIPWAY_QDRANT_API_KEY
  valueFrom:
    secretKeyRef: {name: {{ .qdrant.existingSecret }}, key: {{ .qdrant.secretKey }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "slipway.extraEnv" -}}
{{- range $name, $value := .Values.extraEnv }}
- name: {{ $name }}
  {{- if kindIs "map" $value }}
  {{- toYaml $value | nindent 2 }}
  {{- else }}
  value: {{ $value | quote }}
  {{- end }}
{{- end }}
{{- end }}
