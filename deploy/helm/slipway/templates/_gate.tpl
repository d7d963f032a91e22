{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Whether the evaluation reads from the volume: its examples, or a collection. Gives "true" or nothing. */}}
{{- define "slipway.gateNeedsVolume" -}}
{{- if or (not .Values.gate.existingConfigMap) (eq .Values.retrieval.mode "volume") }}true{{ end -}}
{{- end }}

{{/* What evaluates an artifact in the hook. Argument: root, variant, artifact, onVolume. */}}
{{- define "slipway.gateContainer" -}}
- name: gate
  {{- include "slipway.container" .root | nindent 2 }}
  command: [slipway, evaluate]
  {{- with .root.Values.gate }}
  args:
    - --dev={{ ternary "/etc/slipway/examples" "/var/lib/slipway" (not (empty .existingConfigMap)) }}/{{ .examples }}
    - --metric={{ .metric }}
    - --floor={{ .floor }}
    - --concurrency={{ int .concurrency }}
  {{- end }}
  env:
    - {name: DSPY_CACHEDIR, value: /tmp/cache}
    - {name: SLIPWAY_DATA_DIR, value: /var/lib/slipway/collections}
    - {name: SLIPWAY_ARTIFACT, value: {{ .artifact.path | quote }}}
    - {name: SLIPWAY_ARTIFACT_DIGEST, value: {{ .artifact.digest | quote }}}
    {{- include "slipway.settings" .root | trim | nindent 4 }}
    {{- with printf "%s\n%s" (include "slipway.keys" .root) (include "slipway.extraEnv" .root) | trim }}
    {{- . | nindent 4 }}
    {{- end }}
  resources:
    {{- toYaml .root.Values.serving.resources | nindent 4 }}
  volumeMounts:
    {{- include "slipway.commonMounts" .root | nindent 4 }}
    {{- with include "slipway.secretMounts" .root | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if .onVolume }}
    - {name: data, mountPath: /var/lib/slipway, readOnly: true}
    {{- end }}
    {{- include "slipway.artifactMounts" (dict "variants" (dict .variant .artifact)) | trim | nindent 4 }}
    {{- if .root.Values.gate.existingConfigMap }}
    - {name: examples, mountPath: /etc/slipway/examples, readOnly: true}
    {{- end }}
{{- end }}
