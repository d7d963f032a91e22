{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/*
An artifact, worked out. Argument: root, key. Gives YAML:
  kind: own | configMap | path      own: the chart makes a ConfigMap of it
  file: its file name
  digest: the content digest that pods check
  suffix: of that ConfigMap's name. It holds a hash of the very bytes besides the digest: the same artifact given plain and
          gzipped is two immutable objects.
*/}}
{{- define "slipway.artifact" -}}
{{- $given := index .root.Values.artifacts .key -}}
{{- $digest := default "" $given.digest -}}
{{- if and $given.manifest (not $digest) }}{{ $digest = dig "digest" "" (fromJson $given.manifest) }}{{ end -}}
kind: {{ if or $given.state $given.stateGz }}own{{ else if $given.existingConfigMap }}configMap{{ else }}path{{ end }}
file: {{ default .key $given.name }}.json{{ if or $given.stateGz $given.gzipped }}.gz{{ end }}
digest: {{ $digest | quote }}
suffix: {{ printf "-artifact-%s-%s" ($digest | trunc 8) (omit $given "digest" | toJson | sha256sum | trunc 8) }}
{{- end }}

{{/* What a ConfigMap holds of an artifact. Argument: root, key. */}}
{{- define "slipway.artifactData" -}}
{{- $given := index .root.Values.artifacts .key -}}
{{- $file := (include "slipway.artifact" . | fromYaml).file -}}
data:
  {{ $file | trimSuffix ".gz" | trimSuffix ".json" }}.meta.json: {{ $given.manifest | toJson }}
{{- if $given.state }}
  {{ $file }}: {{ $given.state | toJson }}
{{- else }}
binaryData:
  {{ $file }}: {{ $given.stateGz | nospace }}
{{- end }}
{{- end }}

{{/* The variants that have an artifact, with it. Gives YAML: variants: {stable: {key, kind, file, digest, suffix, path}}. */}}
{{- define "slipway.variants" -}}
variants:
{{- range $variant := list "stable" "candidate" "shadow" }}
{{- with (index $.Values.variants $variant).artifact }}
{{- $artifact := include "slipway.artifact" (dict "root" $ "key" .) | fromYaml }}
  {{ $variant }}:
    {{- toYaml $artifact | nindent 4 }}
    key: {{ . | quote }}
    {{- if eq $artifact.kind "path" }}
    path: /var/lib/slipway/{{ (index $.Values.artifacts .).path }}
    {{- else }}
    path: /etc/slipway/artifacts/{{ $variant }}/{{ $artifact.file }}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Mounts of the artifacts that come from ConfigMaps. Argument: variants. */}}
{{- define "slipway.artifactMounts" -}}
{{- range $variant, $artifact := .variants }}
{{- if ne $artifact.kind "path" }}
- {name: artifact-{{ $variant }}, mountPath: /etc/slipway/artifacts/{{ $variant }}, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{/* Their volumes. Argument: root, variants, prefix (what the names of the chart's own ConfigMaps begin with). */}}
{{- define "slipway.artifactVolumes" -}}
{{- range $variant, $artifact := .variants }}
{{- if ne $artifact.kind "path" }}
- name: artifact-{{ $variant }}
  configMap:
    name: {{ if eq $artifact.kind "own" }}{{ $.prefix }}{{ $artifact.suffix }}{{ else }}{{ (index $.root.Values.artifacts $artifact.key).existingConfigMap }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
