{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* The Job that recompiles is made from the CronJob of this name. */}}
{{- define "slipway.recompileName" -}}
{{ include "slipway.fullname" . }}-recompile
{{- end }}

{{- define "slipway.recompileImage" -}}
{{- with .Values.loop.recompile.image -}}
{{- $repository := default $.Values.image.repository .repository -}}
{{- if .digest }}{{ $repository }}@{{ .digest }}{{ else }}{{ $repository }}:{{ .tag }}{{ end -}}
{{- end -}}
{{- end }}

{{/* Whether the policies are rendered: `helm template` knows no kinds of a cluster. Gives "true" or nothing. */}}
{{- define "slipway.loopPolicies" -}}
{{- $known := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy" -}}
{{- if or (eq .Values.loop.admissionPolicy "always") (and $known (eq .Values.loop.admissionPolicy "auto")) }}true{{ end -}}
{{- end }}

{{/* The stable variant alone, as `slipway.variants` gives it. */}}
{{- define "slipway.stable" -}}
{{ dict "variants" (pick (include "slipway.variants" . | fromYaml).variants "stable") | toYaml }}
{{- end }}

{{- define "slipway.bundlePath" -}}
{{- with .Values.loop.bundle.path }}/var/lib/slipway/{{ . }}{{ else }}/etc/slipway/bundle{{ end -}}
{{- end }}

{{/* What re-evaluation and recompilation are told. */}}
{{- define "slipway.loopEnv" -}}
{{- include "slipway.settings" . }}
{{- include "slipway.folders" . | nindent 0 }}
{{- include "slipway.artifactEnv" (include "slipway.stable" . | fromYaml) }}
{{- include "slipway.keys" . }}
{{- end }}

{{- define "slipway.loopMounts" -}}
{{- include "slipway.commonMounts" . }}
{{- with include "slipway.secretMounts" . | trim }}
{{ . }}
{{- end }}
- {name: data, mountPath: /var/lib/slipway}
{{- with include "slipway.artifactMounts" (include "slipway.stable" . | fromYaml) | trim }}
{{ . }}
{{- end }}
{{- if .Values.loop.bundle.existingConfigMap }}
- {name: bundle, mountPath: /etc/slipway/bundle, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "slipway.loopVolumes" -}}
{{- include "slipway.commonVolumes" . }}
{{- with include "slipway.secretVolumes" . | trim }}
{{ . }}
{{- end }}
{{ include "slipway.dataVolume" . }}
{{- $stable := (include "slipway.stable" . | fromYaml).variants }}
{{- with include "slipway.artifactVolumes" (dict "root" . "variants" $stable "prefix" (include "slipway.fullname" .)) | trim }}
{{ . }}
{{- end }}
{{- with .Values.loop.bundle.existingConfigMap }}
- name: bundle
  configMap: {name: {{ . | quote }}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The pod of a recompilation; the policies read it, too. */}}
{{- define "slipway.recompilePod" -}}
{{- with .Values.loop.recompile -}}
{{ include "slipway.pod" (dict "Values" $.Values "token" true) }}
serviceAccountName: {{ include "slipway.fullname" $ }}-recompile
restartPolicy: Never
{{- with include "slipway.placement" $ | trim }}
{{- . | nindent 0 }}
{{- end }}
containers:
  - name: recompile
    image: {{ include "slipway.recompileImage" $ | quote }}
    {{- include "slipway.containerBesidesImage" $ | nindent 4 }}
    command: [slipway, recompile]
    args:
      - --bundle={{ include "slipway.bundlePath" $ }}
      - --publish
      - --out=/var/lib/slipway/{{ .candidates }}
      {{- with .maxCalls }}
      - --max-calls={{ int64 . }}
      {{- end }}
      {{- with .maxCostUsd }}
      - --max-cost-usd={{ . }}
      {{- end }}
    env:
      {{- include "slipway.loopEnv" $ | trim | nindent 6 }}
      - {name: SLIPWAY_LOOP_RELEASE, value: {{ $.Release.Name | quote }}}
      - {name: SLIPWAY_LOOP_CHART, value: {{ .chart | quote }}}
      {{- with include "slipway.extraEnv" $ | trim }}
      {{- . | nindent 6 }}
      {{- end }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      {{- include "slipway.loopMounts" $ | trim | nindent 6 }}
volumes:
  {{- include "slipway.loopVolumes" $ | trim | nindent 2 }}
{{- end }}
{{- end }}
