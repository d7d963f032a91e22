{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/*
Expression and summary of every alert, by name. Argument: root, of (label matchers that pick this release's series).
The pod label tells releases apart: series of one release come from pods named after it. What is known of jobs comes from
kube-state-metrics (github.com/kubernetes/kube-state-metrics, docs/metrics/workload/cronjob-metrics.md), 2.5 or newer;
without it such an alert never fires.
*/}}
{{- define "slipway.alerts" -}}
{{- $of := .of -}}
{{- $jobs := printf `namespace="%s",cronjob=~"%s-(reevaluate|cache-gc)"` .root.Release.Namespace (include "slipway.fullname" .root) -}}
{{- $at := .root.Values.monitoring.rules.alerts -}}
SlipwayAbsent:
  expr: absent(slipway_variant_info{ {{- $of -}} })
  summary: No pod reports.
SlipwayErrors:
  expr: >-
    sum(rate(slipway_rpc_duration_seconds_count{ {{- $of -}} ,code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED"}[5m]))
    / sum(rate(slipway_rpc_duration_seconds_count{ {{- $of -}} }[5m])) > {{ $at.SlipwayErrors.threshold }}
  summary: {{ printf "More than %v of the calls fail." $at.SlipwayErrors.threshold | quote }}
SlipwaySlow:
  expr: >-
    histogram_quantile(0.99, sum by (le) (rate(slipway_rpc_duration_seconds_bucket{ {{- $of -}} }[5m]))) > {{ $at.SlipwaySlow.threshold }}
  summary: {{ printf "One call in a hundred takes longer than %v s." $at.SlipwaySlow.threshold | quote }}
SlipwayUpdateRefused:
  expr: sum(increase(slipway_swaps_total{ {{- $of -}} ,outcome="refused"}[15m])) > 0
  summary: A pod refused an artifact or a routing file, and serves on as before.
SlipwayCandidateRemoved:
  expr: sum(increase(slipway_candidate_removed_total{ {{- $of -}} }[15m])) > 0
  summary: A pod took the candidate out of the routing, because it fails or is slow more often than stable.
SlipwayProviderDown:
  expr: max(slipway_lm_circuit_open{ {{- $of -}} }) > 0
  summary: The provider fails so often that pods leave it alone.
SlipwayQuotaShort:
  expr: >-
    sum(rate(slipway_lm_sheds_total{ {{- $of -}} }[10m]))
    / sum(rate(slipway_lm_calls_total{ {{- $of -}} }[10m])) > {{ $at.SlipwayQuotaShort.threshold }}
  summary: {{ printf "More than %v of the LM calls are refused for want of quota or time." $at.SlipwayQuotaShort.threshold | quote }}
SlipwayRetriesHigh:
  expr: max(slipway_lm_retry_amplification{ {{- $of -}} }) > {{ $at.SlipwayRetriesHigh.threshold }}
  summary: {{ printf "A successful LM call needs more than %v attempts." $at.SlipwayRetriesHigh.threshold | quote }}
SlipwayVolumeHangs:
  expr: max(slipway_cache_breaker_open{ {{- $of -}} }) > 0
  summary: The cache's volume hangs; answers come without the shared cache.
SlipwayVolumeFull:
  expr: sum(increase(slipway_cache_writes_total{ {{- $of -}} ,outcome="full"}[15m])) > 0
  summary: The volume is full; new answers are not cached.
SlipwayJobFailed:
  expr: >-
    kube_cronjob_status_last_schedule_time{ {{- $jobs -}} } unless on (namespace, cronjob)
    kube_cronjob_status_last_successful_time{ {{- $jobs -}} } >= on (namespace, cronjob) kube_cronjob_status_last_schedule_time{ {{- $jobs -}} }
  summary: A scheduled job (re-evaluation, cleaning of the cache) has not succeeded since it was last due.
SlipwayTrafficLost:
  expr: sum(increase(slipway_traffic_records_total{ {{- $of -}} ,outcome!="written"}[15m])) > 0
  summary: Sampled answers are lost on their way to the volume.
{{- end }}
