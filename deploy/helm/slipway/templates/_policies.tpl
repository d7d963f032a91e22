{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/*
What the loop's accounts may create, by resource: its group, the accounts, and rules (a CEL expression with its message).
A Job is compared with what the chart renders, not with the CronJob as a parameter of the policy: an API server that has
lost its last policy with a CronJob as parameter looks for the parameters of the next one in vain until it starts anew.
*/}}
{{- define "slipway.policies" -}}
{{- $template := include "slipway.recompileName" . -}}
{{- $jobs := printf "^%s-[0-9a-f]{16}$" ($template | trunc 46) -}}
{{- $candidates := printf "^%s-candidate-[0-9a-f]{8}$" (.Release.Name | trunc 40 | replace "." "[.]") -}}
jobs:
  group: batch
  accounts: [reevaluate]
  rules:
    - message: a Job of the loop is named after its CronJob and the artifact's digest, which is its label, too
      expression: >-
        object.metadata.name.matches({{ $jobs | squote }})
        && has(object.metadata.labels) && "slipway/artifact" in object.metadata.labels
        && object.metadata.name.endsWith("-" + object.metadata.labels["slipway/artifact"])
    - message: a Job of the loop belongs to its CronJob
      expression: >-
        has(object.metadata.ownerReferences) && size(object.metadata.ownerReferences) == 1
        && object.metadata.ownerReferences[0].kind == "CronJob"
        && object.metadata.ownerReferences[0].name == {{ $template | squote }}
    - message: a Job of the loop runs one pod, once
      expression: >-
        object.spec.backoffLimit == 0 && (!has(object.spec.parallelism) || object.spec.parallelism == 1)
        && (!has(object.spec.completions) || object.spec.completions == 1)
    {{- include "slipway.podRules" (dict "pod" (include "slipway.recompilePod" . | fromYaml) "labels" (include "slipway.podLabels" (dict "root" . "component" "recompile") | fromYaml)) | nindent 4 }}
configmaps:
  group: ""
  accounts: [recompile]
  rules:
    - message: a ConfigMap of the loop is named after its release and the candidate's digest, which is its annotation, too
      expression: >-
        object.metadata.name.matches({{ $candidates | squote }})
        && has(object.metadata.annotations) && "slipway/digest" in object.metadata.annotations
        && object.metadata.name.endsWith("-" + object.metadata.annotations["slipway/digest"].substring(0, 8))
    - message: a ConfigMap of the loop is immutable, labelled as a candidate, and holds JSON files
      expression: >-
        has(object.immutable) && object.immutable
        && has(object.metadata.labels) && "app.kubernetes.io/component" in object.metadata.labels
        && object.metadata.labels["app.kubernetes.io/component"] == "candidate"
        && !has(object.binaryData) && has(object.data) && object.data.all(file, file.endsWith(".json"))
events:
  group: ""
  accounts: [reevaluate, recompile]
  rules:
    - message: an Event of the loop is about its Job or its candidate
      expression: >-
        has(object.source) && has(object.source.component) && object.source.component == "slipway-loop"
        && (object.involvedObject.name.matches({{ $jobs | squote }})
        || object.involvedObject.name.matches({{ $candidates | squote }}))
{{- end }}

{{/*
Rules that hold a Job's pod to one that the chart renders: whatever decides what runs, as whom, and what it can read.
Fields for which the API server puts defaults in are compared by what is given. Argument: pod, labels.
*/}}
{{- define "slipway.podRules" -}}
{{- $one := index .pod.containers 0 -}}
{{- $env := dict -}}
{{- $from := list -}}
{{- $keys := list -}}
{{- range $one.env -}}
{{- $name := .name -}}
{{- if not .valueFrom }}{{ $_ := set $env $name (default "" .value) }}{{ end -}}
{{- with .valueFrom -}}
{{- $from = append $from $name -}}
{{- with default .secretKeyRef .configMapKeyRef }}{{ $keys = append $keys (printf "%s:%s:%s" $name .name .key) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $mounts := list -}}
{{- range $one.volumeMounts }}{{ $mounts = append $mounts (printf "%s:%s:%s" .name .mountPath (default "" .subPath)) }}{{ end -}}
{{- $sources := list -}}
{{- $names := list -}}
{{- range .pod.volumes -}}
{{- $names = append $names .name -}}
{{- if .secret }}{{ $sources = append $sources (printf "secret:%s" .secret.secretName) }}{{ end -}}
{{- if .configMap }}{{ $sources = append $sources (printf "configMap:%s" .configMap.name) }}{{ end -}}
{{- if .persistentVolumeClaim }}{{ $sources = append $sources (printf "claim:%s" .persistentVolumeClaim.claimName) }}{{ end -}}
{{- end -}}
- message: a Job of the loop runs the image and the command of its CronJob, with its account
  expression: >-
    object.spec.template.spec.serviceAccountName == {{ .pod.serviceAccountName | squote }}
    && size(object.spec.template.spec.containers) == 1 && !has(object.spec.template.spec.initContainers)
    && object.spec.template.spec.containers.all(one, one.image == {{ $one.image | squote }}
    && one.command == {{ $one.command | toJson }} && one.args == {{ $one.args | toJson }}
    && !has(one.workingDir) && !has(one.lifecycle)
    && !has(one.livenessProbe) && !has(one.readinessProbe) && !has(one.startupProbe))
- message: a pod of the loop has no more rights on its node than its CronJob gives it
  expression: >-
    object.spec.template.spec.securityContext.runAsNonRoot
    && object.spec.template.spec.securityContext.runAsUser == {{ .pod.securityContext.runAsUser }}
    && !has(object.spec.template.spec.hostNetwork) && !has(object.spec.template.spec.hostPID)
    && !has(object.spec.template.spec.hostIPC)
    && object.spec.template.spec.containers.all(one, !one.securityContext.allowPrivilegeEscalation
    && one.securityContext.readOnlyRootFilesystem && !has(one.securityContext.privileged)
    && one.securityContext.capabilities.drop == ["ALL"] && !has(one.securityContext.capabilities.add)
    && !has(one.securityContext.runAsUser) && !has(one.securityContext.runAsNonRoot))
- message: a Job of the loop has the environment that its CronJob describes
  expression: >-
    object.spec.template.spec.containers.all(one, !has(one.envFrom) && size(one.env) == {{ len $one.env }}
    && one.env.all(each, has(each.valueFrom) ? each.name in {{ $from | toJson }}
    && (!has(each.valueFrom.secretKeyRef)
    || (each.name + ":" + each.valueFrom.secretKeyRef.name + ":" + each.valueFrom.secretKeyRef.key) in {{ $keys | toJson }})
    && (!has(each.valueFrom.configMapKeyRef)
    || (each.name + ":" + each.valueFrom.configMapKeyRef.name + ":" + each.valueFrom.configMapKeyRef.key) in {{ $keys | toJson }})
    : each.name in {{ $env | toJson }} && {{ $env | toJson }}[each.name] == (has(each.value) ? each.value : ""))
    && {{ concat (keys $env | sortAlpha) $from | toJson }}.all(name, one.env.exists(each, each.name == name)))
- message: a Job of the loop reads the Secrets, ConfigMaps and claims of its CronJob, each at its place
  expression: >-
    object.spec.template.spec.volumes.all(each, each.name in {{ $names | toJson }}
    && !has(each.hostPath) && !has(each.nfs)
    && (!has(each.secret) || ("secret:" + each.secret.secretName) in {{ $sources | toJson }})
    && (!has(each.configMap) || ("configMap:" + each.configMap.name) in {{ $sources | toJson }})
    && (!has(each.persistentVolumeClaim)
    || ("claim:" + each.persistentVolumeClaim.claimName) in {{ $sources | toJson }}))
    && object.spec.template.spec.containers.all(one, !has(one.volumeDevices)
    && one.volumeMounts.all(each, !has(each.subPathExpr)
    && (each.name + ":" + each.mountPath + ":" + (has(each.subPath) ? each.subPath : "")) in {{ $mounts | toJson }}))
- message: a pod of the loop has the labels that its CronJob describes, and no annotations
  expression: >-
    !has(object.spec.template.metadata.annotations)
    && object.spec.template.metadata.labels.all(label,
    label.startsWith("batch.kubernetes.io/") || label in ["controller-uid", "job-name"]
    || (label in {{ .labels | toJson }} && {{ .labels | toJson }}[label] == object.spec.template.metadata.labels[label]))
{{- end }}
