{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/*
What every pod of the chart has in common: the restricted Pod Security Standard, and no token but where `token` is true.
Argument: Values, token; the root will do.
*/}}
{{- define "slipway.pod" -}}
automountServiceAccountToken: {{ default false .token }}
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What every container has in common. */}}
{{- define "slipway.container" -}}
image: {{ include "slipway.image" . | quote }}
{{ include "slipway.containerBesidesImage" . }}
{{- end }}

{{- define "slipway.containerBesidesImage" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{/* The mounts of everything that runs the program or works on the volume. */}}
{{- define "slipway.commonMounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.program.existingConfigMap }}
- {name: program, mountPath: /opt/slipway/program, readOnly: true}
{{- end }}
{{- end }}

{{- define "slipway.commonVolumes" -}}
- name: tmp
  emptyDir: {}
{{- with .Values.program.existingConfigMap }}
- name: program
  configMap: {name: {{ . | quote }}}
{{- end }}
{{- end }}

{{- define "slipway.dataVolume" -}}
- name: data
{{- if eq .Values.volume.mode "emptyDir" }}
  emptyDir: {sizeLimit: {{ .Values.volume.size }}}
{{- else }}
  persistentVolumeClaim: {claimName: {{ include "slipway.claimName" . }}}
{{- end }}
{{- end }}

{{/* Secrets as folders, not as single files: only those follow a change. */}}
{{- define "slipway.secretMounts" -}}
{{- if not .Values.lm.keyless }}
- {name: lm-key, mountPath: /etc/slipway/secrets/lm, readOnly: true}
{{- end }}
{{- if and (ne .Values.retrieval.mode "none") .Values.retrieval.embedding.existingSecret }}
- {name: embedding-key, mountPath: /etc/slipway/secrets/embedding, readOnly: true}
{{- end }}
{{- end }}

{{- define "slipway.secretVolumes" -}}
{{- with .Values.lm }}
{{- if not .keyless }}
- name: lm-key
  secret:
    secretName: {{ .existingSecret | quote }}
    items: [{key: {{ .secretKey | quote }}, path: api-key}]
{{- end }}
{{- end }}
{{- with .Values.retrieval }}
{{- if and (ne .mode "none") .embedding.existingSecret }}
- name: embedding-key
  secret:
    secretName: {{ .embedding.existingSecret | quote }}
    items: [{key: {{ .embedding.secretKey | quote }}, path: api-key}]
{{- end }}
{{- end }}
{{- end }}

{{/* Where the pods may run. */}}
{{- define "slipway.placement" -}}
{{- with .Values.serving }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
