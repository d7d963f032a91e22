{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Names leave room for suffixes: a CronJob's name has at most 52 characters. */}}
{{- define "slipway.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The three labels that selectors use. Argument: root, component. */}}
{{- define "slipway.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of an object. Argument: root, component. */}}
{{- define "slipway.labels" -}}
{{ include "slipway.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: slipway
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of a pod: without versions, so that a new chart alone restarts nothing. Argument: root, component. */}}
{{- define "slipway.podLabels" -}}
{{ include "slipway.selector" . }}
app.kubernetes.io/part-of: slipway
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Name, namespace and labels. Argument: root, component, suffix ("" or "-…"). Every object begins with this, so that the guards
speak before a template meets what they refuse.
*/}}
{{- define "slipway.metadata" -}}
{{- include "slipway.validate" .root -}}
name: {{ include "slipway.fullname" .root }}{{ .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "slipway.labels" . | nindent 2 }}
{{- end }}

{{/* The same for an object of the cluster, where namespace and release tell names apart. Argument: root, component, prefix. */}}
{{- define "slipway.clusterMetadata" -}}
{{- include "slipway.validate" .root -}}
name: {{ .prefix }}.{{ include "slipway.fullname" .root }}.{{ .root.Release.Namespace }}.slipway
labels:
  {{- include "slipway.labels" . | nindent 2 }}
{{- end }}

{{- define "slipway.serviceAccountName" -}}
{{- $own := ternary (include "slipway.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end }}

{{- define "slipway.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end -}}
{{- end -}}
{{- end }}

{{/* What round robin needs: every pod's address. */}}
{{- define "slipway.headlessHost" -}}
{{ include "slipway.fullname" . }}-headless.{{ .Release.Namespace }}.svc
{{- end }}

{{- define "slipway.claimName" -}}
{{- ternary .Values.volume.existingClaim (printf "%s-data" (include "slipway.fullname" .)) (eq .Values.volume.mode "existingClaim") -}}
{{- end }}

{{/* A value as text: Helm reads numbers as floats, and would print large ones with an exponent. */}}
{{- define "slipway.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{/* preStop, drain, and the longest call with the server's own margin of 5 s. */}}
{{- define "slipway.neededGraceSeconds" -}}
{{- with .Values.serving -}}
{{- ceil (addf .preStopSeconds .drainSeconds .deadlineSeconds 5) | int64 -}}
{{- end -}}
{{- end }}

{{- define "slipway.graceSeconds" -}}
{{- with .Values.serving.terminationGracePeriodSeconds }}{{ int64 . }}{{ else }}{{ add 2 (include "slipway.neededGraceSeconds" .) }}{{ end -}}
{{- end }}
