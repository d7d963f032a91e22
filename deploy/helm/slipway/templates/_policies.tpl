{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/*
What the loop's accounts may create, by policy: resource, group, accounts, and rules (a CEL expression with its message).
With `template`, `params` is the CronJob that recompiles, as the API server has it: a Job has to be what that describes.
Such a policy is passed over while there is no CronJob. It must not deny then: that would be everybody's Jobs, because the
API server looks for params before it asks whom a policy is about.
*/}}
{{- define "slipway.policies" -}}
{{- $name := include "slipway.fullname" . -}}
{{- $template := include "slipway.recompileName" . -}}
{{- $jobs := printf "^%s-[0-9a-f]{16}$" ($template | trunc 46) -}}
{{- $candidates := printf "^%s-candidate-[0-9a-f]{8}$" (.Release.Name | trunc 40 | replace "." "[.]") -}}
jobs:
  resource: jobs
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
    - message: a Job of the loop runs one pod, once, with the account that recompiles
      expression: >-
        object.spec.backoffLimit == 0 && (!has(object.spec.parallelism) || object.spec.parallelism == 1)
        && (!has(object.spec.completions) || object.spec.completions == 1)
        && object.spec.template.spec.serviceAccountName == {{ printf "%s-recompile" $name | squote }}
pods:
  resource: jobs
  group: batch
  accounts: [reevaluate]
  template: true
  rules:
    - message: a Job of the loop belongs to the CronJob that there is
      expression: object.metadata.ownerReferences[0].uid == params.metadata.uid
    - message: a Job of the loop runs the pod that its CronJob describes
      expression: dyn(object.spec.template.spec) == dyn(params.spec.jobTemplate.spec.template.spec)
    - message: a pod of the loop has the labels that its CronJob describes, and no annotations
      expression: >-
        !has(object.spec.template.metadata.annotations)
        && object.spec.template.metadata.labels.all(label,
        label.startsWith("batch.kubernetes.io/") || label in ["controller-uid", "job-name"]
        || (label in params.spec.jobTemplate.spec.template.metadata.labels
        && params.spec.jobTemplate.spec.template.metadata.labels[label] == object.spec.template.metadata.labels[label]))
configmaps:
  resource: configmaps
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
  resource: events
  group: ""
  accounts: [reevaluate, recompile]
  rules:
    - message: an Event of the loop is about its Job or its candidate
      expression: >-
        has(object.source) && has(object.source.component) && object.source.component == "slipway-loop"
        && (object.involvedObject.name.matches({{ $jobs | squote }})
        || object.involvedObject.name.matches({{ $candidates | squote }}))
{{- end }}
