{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/*
Expression and summary of every alert, by name. Argument: root, of (label matchers that pick this release's series).
The pod label tells releases apart: series of one release come from pods named after it. FAILED_PRECONDITION among the
errors is the operator's to mend, such as a key that the provider refuses. What is known of jobs comes from
kube-state-metrics (github.com/kubernetes/kube-state-metrics, docs/metrics/workload/cronjob-metrics.md), 2.5 or newer;
without it such an alert never fires.
*/}}
{{- define "slipway.alerts" -}}
{{- $of := .of -}}
{{- $jobs := printf `namespace="%s",cronjob=~"%s-(reevaluate|cache-gc)"` .root.Release.Namespace (include "slipway.fullname" .root) -}}
{{- $at := .root.Values.monitoring.rules.alerts -}}
SlipwayAbsent:
  expr: absent(slipway_variant_info{ {{- $of -}} })
  summary: Prometheus sees no pod.
SlipwayErrors:
  expr: >-
    sum(rate(slipway_rpc_duration_seconds_count{ {{- $of -}} ,code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|FAILED_PRECONDITION"}[5m]))
    / sum(rate(slipway_rpc_duration_seconds_count{ {{- $of -}} }[5m])) > {{ $at.SlipwayErrors.threshold }}
  summary: {{ printf "More than %v %% of calls fail." (round (mulf $at.SlipwayErrors.threshold 100) 2) | quote }}
SlipwaySlow:
  expr: >-
    histogram_quantile(0.99, sum by (le) (rate(slipway_rpc_duration_seconds_bucket{ {{- $of -}} }[5m]))) > {{ $at.SlipwaySlow.threshold }}
  summary: {{ printf "One call in a hundred takes longer than %v s." $at.SlipwaySlow.threshold | quote }}
SlipwayUpdateRefused:
  expr: sum(increase(slipway_swaps_total{ {{- $of -}} ,outcome="refused"}[15m])) > 0
  summary: A pod rejected a new artifact or routing file and keeps serving what it had.
SlipwayCandidateRemoved:
  expr: sum(increase(slipway_candidate_removed_total{ {{- $of -}} }[15m])) > 0
  summary: A pod has stopped routing to the candidate, which fails or is slow more often than stable.
SlipwayProviderDown:
  expr: max(slipway_lm_circuit_open{ {{- $of -}} }) > 0
  summary: The provider fails so often that pods have stopped calling it.
SlipwayQuotaShort:
  expr: >-
    sum(rate(slipway_lm_sheds_total{ {{- $of -}} }[10m]))
    / sum(rate(slipway_lm_calls_total{ {{- $of -}} }[10m])) > {{ $at.SlipwayQuotaShort.threshold }}
  summary: {{ printf "More than %v %% of LM calls are refused for lack of quota or time." (round (mulf $at.SlipwayQuotaShort.threshold 100) 2) | quote }}
SlipwayRetriesHigh:
  expr: max(slipway_lm_retry_amplification{ {{- $of -}} }) > {{ $at.SlipwayRetriesHigh.threshold }}
  summary: {{ printf "A successful LM call needs more than %v attempts." $at.SlipwayRetriesHigh.threshold | quote }}
SlipwayVolumeHangs:
  expr: max(slipway_cache_breaker_open{ {{- $of -}} }) > 0
  summary: The cache's volume hangs; pods answer without the shared cache.
SlipwayVolumeFull:
  expr: sum(increase(slipway_cache_writes_total{ {{- $of -}} ,outcome="full"}[15m])) > 0
  summary: The volume is full; new answers are not cached.
SlipwayJobFailed:
  expr: >-
    kube_cronjob_status_last_schedule_time{ {{- $jobs -}} } unless on (namespace, cronjob)
    kube_cronjob_status_last_successful_time{ {{- $jobs -}} } >= on (namespace, cronjob) kube_cronjob_status_last_schedule_time{ {{- $jobs -}} }
  summary: A scheduled job (re-evaluation or cache cleaning) has not succeeded since it was last due.
SlipwayQualityDropped:
  expr: max by (verdict) (slipway_quality_verdict{ {{- $of -}} ,verdict=~"DEGRADED|JUDGE_MOVED"}) > 0
  summary: Live answers have become worse, or their judge has changed.
SlipwayTrafficLost:
  expr: sum(increase(slipway_traffic_records_total{ {{- $of -}} ,outcome!="written"}[15m])) > 0
  summary: Sampled answers do not reach the volume.
{{- end }}
