{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Every guard that the schema cannot express: one sentence each, the cause and the remedy. Gives nothing. */}}
{{- define "slipway.validate" -}}
{{- include "slipway.validateImageAndLm" . -}}
{{- include "slipway.validateArtifacts" . -}}
{{- include "slipway.validateVariants" . -}}
{{- include "slipway.validateVolume" . -}}
{{- include "slipway.validateServing" . -}}
{{- include "slipway.validateMonitoring" . -}}
{{- include "slipway.validateGate" . -}}
{{- include "slipway.validateLoop" . -}}
{{- end }}

{{- define "slipway.validateImageAndLm" -}}
{{- if not .Values.image.repository }}{{ fail "image.repository is not set: name the repository that your image was pushed to" }}{{ end -}}
{{- with .Values.lm -}}
{{- if not .model }}{{ fail "lm.model is not set: name the LM as provider/model, such as openai/gpt-4o-mini" }}{{ end -}}
{{- if hasPrefix "offline/" .model }}{{ fail (printf "lm.model is %s, the built-in reader, which is no language model: name a provider's model" .model) }}{{ end -}}
{{- if not .endpoint }}{{ fail "lm.endpoint is not set: give the provider's OpenAI-compatible address, ending in /v1" }}{{ end -}}
{{- if and (not .existingSecret) (not .keyless) }}{{ fail "lm.existingSecret is not set: name the Secret with the provider's key, or set lm.keyless=true where the endpoint asks for none" }}{{ end -}}
{{- if and .existingSecret .keyless }}{{ fail "lm.existingSecret and lm.keyless contradict each other: set one of them" }}{{ end -}}
{{- end -}}
{{- with .Values.retrieval -}}
{{- if and (eq .mode "qdrant") (not .qdrant.url) }}{{ fail "retrieval.mode is qdrant but retrieval.qdrant.url is not set: give the server's URL, or take retrieval.mode=volume" }}{{ end -}}
{{- if and (ne .mode "none") (not (hasPrefix "offline/" .embedding.model)) (not .embedding.endpoint) }}{{ fail (printf "retrieval.embedding.model is %s but retrieval.embedding.endpoint is not set: give the endpoint that serves it" .embedding.model) }}{{ end -}}
{{- if and (eq .mode "none") $.Values.ingest.enabled }}{{ fail "ingest.enabled makes a collection, but retrieval.mode is none: set retrieval.mode=volume or qdrant" }}{{ end -}}
{{- if and $.Values.ingest.enabled (not $.Values.ingest.existingConfigMap) (eq $.Values.volume.mode "emptyDir") }}{{ fail "ingest.corpus is to be on the volume, but volume.mode is emptyDir: give ingest.existingConfigMap, or a claim" }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "slipway.validateArtifacts" -}}
{{- /* Helm keeps a release, compressed, in one Secret of 1 MiB at most, and has an artifact in it three times: in the
values, in the ConfigMap and in the hook's. Text shrinks to less than half; what is gzipped, only by its base64. */}}
{{- $kept := 0.0 -}}
{{- range $key, $given := .Values.artifacts -}}
{{- if $given -}}
{{- $at := printf "artifacts.%s" $key -}}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$" $key) }}{{ fail (printf "%s: the name must be lower-case letters, digits and hyphens, at most 40: choose a short one, such as v7" $at) }}{{ end -}}
{{- $ways := 0 -}}
{{- range list "state" "stateGz" "existingConfigMap" "path" }}{{ if index $given . }}{{ $ways = add1 $ways }}{{ end }}{{ end -}}
{{- if ne (int $ways) 1 }}{{ fail (printf "%s is given in %d ways: give exactly one of state, stateGz, existingConfigMap and path" $at (int $ways)) }}{{ end -}}
{{- $own := or $given.state $given.stateGz -}}
{{- if ne (empty $own) (empty $given.manifest) }}{{ fail (printf "%s needs both files of the artifact: pass its .json and its .meta.json with --set-file, as state and manifest" $at) }}{{ end -}}
{{- if $own -}}
{{- if and $given.state (hasKey (fromJson $given.state) "Error") }}{{ fail (printf "%s.state is not a JSON object: pass the artifact's .json file with --set-file" $at) }}{{ end -}}
{{- $stated := dig "digest" "" (fromJson $given.manifest) -}}
{{- if not (regexMatch "^[0-9a-f]{64}$" (toString $stated)) }}{{ fail (printf "%s.manifest states no digest: pass the .meta.json file that belongs to the artifact" $at) }}{{ end -}}
{{- if and $given.digest (ne $given.digest $stated) }}{{ fail (printf "%s.digest is not the one that its manifest states (%s…): pass the artifact that you mean, or leave digest out" $at ($stated | trunc 12)) }}{{ end -}}
{{- else if not $given.digest }}{{ fail (printf "%s.digest is not set: give the digest that `slipway artifact show` prints, so that pods can check it" $at) }}{{ end -}}
{{- $kept = addf $kept (mulf 1.7 (len (default "" $given.state))) (mulf 2.3 (len (default "" $given.stateGz))) -}}
{{- with $given.path -}}
{{- if or (hasPrefix "/" .) (contains ".." .) (not (regexMatch "\\.json(\\.gz)?$" .)) }}{{ fail (printf "%s.path is %s: give the .json file's path relative to the volume, such as artifacts/v7.json" $at .) }}{{ end -}}
{{- if eq $.Values.volume.mode "emptyDir" }}{{ fail (printf "%s.path needs a volume that stays, but volume.mode is emptyDir: set volume.mode=claim or existingClaim" $at) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt $kept 700000.0 }}{{ fail "artifacts are too large together for Helm, which keeps a release in one Secret of 1 MiB: take old ones out, or give them as existingConfigMap or path" }}{{ end -}}
{{- end }}

{{- define "slipway.validateVariants" -}}
{{- $artifacts := default dict .Values.artifacts -}}
{{- with .Values.variants -}}
{{- if not .stable.artifact }}{{ fail "variants.stable.artifact is not set: name one of the artifacts under `artifacts`" }}{{ end -}}
{{- range $variant := list "stable" "candidate" "shadow" -}}
{{- $chosen := index $.Values.variants $variant -}}
{{- with $chosen.artifact -}}
{{- if not (index $artifacts .) }}{{ fail (printf "variants.%s.artifact is %s, which is not among `artifacts`: give it there, or name one of: %s" $variant . (keys $artifacts | sortAlpha | join ", " | default "none yet")) }}{{ end -}}
{{- end -}}
{{- if ne $variant "stable" -}}
{{- if or (lt (int $chosen.weight) 0) (gt (int $chosen.weight) 10000) }}{{ fail (printf "variants.%s.weight is %d basis points: give 0 to 10000, which is 100 %%" $variant (int $chosen.weight)) }}{{ end -}}
{{- if and (gt (int $chosen.weight) 0) (not $chosen.artifact) }}{{ fail (printf "variants.%s.weight is %d but variants.%s.artifact is not set: name its artifact, or set the weight to 0" $variant (int $chosen.weight) $variant) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if eq .stable.artifact .candidate.artifact }}{{ fail (printf "variants.candidate.artifact is %s, as is stable's: name another artifact, or leave the candidate out" .candidate.artifact) }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "slipway.validateVolume" -}}
{{- with .Values.volume -}}
{{- if and (eq .mode "existingClaim") (not .existingClaim) }}{{ fail "volume.mode is existingClaim but volume.existingClaim is not set: name the claim" }}{{ end -}}
{{- if and .existingClaim (ne .mode "existingClaim") }}{{ fail (printf "volume.existingClaim is %s but volume.mode is %s: set volume.mode=existingClaim" .existingClaim .mode) }}{{ end -}}
{{- if and (eq .mode "claim") (eq .accessMode "ReadWriteOnce") (not (hasKey (default dict $.Values.serving.nodeSelector) "kubernetes.io/hostname")) }}{{ fail "volume.accessMode is ReadWriteOnce, which one node can mount, but pods may run on several: take ReadWriteMany, or pin them to a node with serving.nodeSelector.kubernetes\\.io/hostname" }}{{ end -}}
{{- if eq .mode "emptyDir" -}}
{{- if eq $.Values.retrieval.mode "volume" }}{{ fail "retrieval.mode is volume but volume.mode is emptyDir, where no collection can be: take retrieval.mode=qdrant or none, or a claim" }}{{ end -}}
{{- if $.Values.traffic.enabled }}{{ fail "traffic.enabled needs a volume that stays, but volume.mode is emptyDir: set volume.mode=claim, or traffic.enabled=false" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "slipway.validateServing" -}}
{{- $needed := include "slipway.neededGraceSeconds" . | int -}}
{{- with .Values.serving.terminationGracePeriodSeconds -}}
{{- if lt (int .) $needed }}{{ fail (printf "serving.terminationGracePeriodSeconds is %d, but preStop, drain and the longest call need %d: raise it, or lower serving.deadlineSeconds" (int .) $needed) }}{{ end -}}
{{- end -}}
{{- $config := default dict .Values.config -}}
{{- $dryRun := default 60 (index $config "SLIPWAY_DRY_RUN_SECONDS") -}}
{{- $prewarm := ternary (default 60 (index $config "SLIPWAY_PREWARM_SECONDS")) 0 (hasKey $config "SLIPWAY_PREWARM_FILE") -}}
{{- $starting := ceil (addf $dryRun $prewarm) | int -}}
{{- if le (int .Values.serving.startupSeconds) $starting }}{{ fail (printf "serving.startupSeconds is %d, but dry run and pre-warming alone may take %d: raise it" (int .Values.serving.startupSeconds) $starting) }}{{ end -}}
{{- if eq (int .Values.serving.grpcPort) (int .Values.serving.metricsPort) }}{{ fail "serving.grpcPort and serving.metricsPort are the same: choose two ports" }}{{ end -}}
{{- with .Values.autoscaling -}}
{{- if .enabled -}}
{{- if gt (int .minReplicas) (int .maxReplicas) }}{{ fail (printf "autoscaling.minReplicas is %d and maxReplicas %d: the first must not be larger" (int .minReplicas) (int .maxReplicas)) }}{{ end -}}
{{- if not (or .inFlight .queueWaitSeconds .cpuPercent) }}{{ fail "autoscaling has nothing to aim at: set autoscaling.inFlight or queueWaitSeconds, or autoscaling.cpuPercent on clusters without custom metrics" }}{{ end -}}
{{- if and .cpuPercent (not (dig "requests" "cpu" "" (default dict $.Values.serving.resources))) }}{{ fail "autoscaling.cpuPercent is a share of what is requested: set serving.resources.requests.cpu" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- if .enabled -}}
{{- $least := ternary $.Values.autoscaling.minReplicas $.Values.serving.replicas $.Values.autoscaling.enabled -}}
{{- if and (kindIs "invalid" $least | not) (le (int $least) 1) }}{{ fail (printf "podDisruptionBudget.enabled with %d pod keeps nodes from being drained: run two or more pods, or set podDisruptionBudget.enabled=false" (int $least)) }}{{ end -}}
{{- if not (or (kindIs "invalid" .minAvailable) (kindIs "invalid" .maxUnavailable)) }}{{ fail "podDisruptionBudget has minAvailable and maxUnavailable: Kubernetes takes one of them" }}{{ end -}}
{{- if and (not (kindIs "invalid" .maxUnavailable)) (has (toString .maxUnavailable) (list "0" "0%")) }}{{ fail (printf "podDisruptionBudget.maxUnavailable is %s, which keeps nodes from being drained: raise it, or set podDisruptionBudget.enabled=false" (toString .maxUnavailable)) }}{{ end -}}
{{- if eq (toString .minAvailable) "100%" }}{{ fail "podDisruptionBudget.minAvailable is 100%, which keeps nodes from being drained: lower it" }}{{ end -}}
{{- if and (not (kindIs "string" .minAvailable)) (not (kindIs "invalid" $least)) (ge (int .minAvailable) (int $least)) }}{{ fail (printf "podDisruptionBudget.minAvailable is %d of %d pods, which keeps nodes from being drained: lower it" (int .minAvailable) (int $least)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "slipway.validateMonitoring" -}}
{{- with .Values.monitoring -}}
{{- if and .serviceMonitor.enabled .podMonitor.enabled }}{{ fail "monitoring.serviceMonitor and monitoring.podMonitor would scrape every pod twice: enable one of them" }}{{ end -}}
{{- if and .rules.enabled (not .rules.runbookUrl) }}{{ fail "monitoring.rules.runbookUrl is not set: give the address where your team reads docs/operations.md" }}{{ end -}}
{{- $wanted := or .serviceMonitor.enabled .podMonitor.enabled .rules.enabled -}}
{{- if and $wanted (not .disableApiCheck) (not ($.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) }}{{ fail "monitors and rules need the Prometheus operator (monitoring.coreos.com/v1), which the API server does not know: install it, or set monitoring.disableApiCheck=true to render them all the same" }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "slipway.validateGate" -}}
{{- if not (kindIs "invalid" .Values.gate.floor) -}}
{{- if not .Values.verifyHook.enabled }}{{ fail "gate.floor is set, but the hook that evaluates is off: set verifyHook.enabled=true, or gate.floor=null" }}{{ end -}}
{{- if include "slipway.gateNeedsVolume" . -}}
{{- if eq .Values.volume.mode "emptyDir" }}{{ fail "gate.examples are to be on the volume, but volume.mode is emptyDir: give gate.existingConfigMap" }}{{ end -}}
{{- if and (eq .Values.volume.mode "claim") (not (include "slipway.claimThere" .)) }}{{ fail "gate.floor evaluates with what is on the volume, whose claim is only now made: set it from the next upgrade on" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "slipway.validateLoop" -}}
{{- with .Values.loop -}}
{{- if .enabled -}}
{{- if not $.Values.traffic.enabled }}{{ fail "loop.enabled judges recorded answers, but traffic.enabled is false: set traffic.enabled=true, and traffic.fields" }}{{ end -}}
{{- $fields := splitList "," (nospace $.Values.traffic.fields) -}}
{{- if not $.Values.traffic.fields }}{{ fail "loop.enabled judges recorded answers, but traffic.fields is empty, so that only figures are: name the program's fields, and context" }}{{ end -}}
{{- if and (eq .judge.metric "groundedness") (not (has "context" $fields)) (not (has "*" $fields)) }}{{ fail (printf "loop.judge.metric is groundedness, which reads the passages, but traffic.fields is %s: add context, or name another metric" $.Values.traffic.fields) }}{{ end -}}
{{- with .bundle -}}
{{- if eq (empty .existingConfigMap) (empty .path) }}{{ fail "loop.bundle is to be given in one way: set either loop.bundle.existingConfigMap or loop.bundle.path, for what `slipway compile --bundle` packed" }}{{ end -}}
{{- end -}}
{{- range $value, $path := dict "loop.bundle.path" .bundle.path "loop.recompile.candidates" .recompile.candidates -}}
{{- if or (hasPrefix "/" $path) (contains ".." $path) }}{{ fail (printf "%s is %s: give the folder's path relative to the volume" $value $path) }}{{ end -}}
{{- end -}}
{{- with .recompile.image -}}
{{- if not (or .tag .digest) }}{{ fail "loop.recompile.image.tag is not set: name the image that can compile, which is built with --target full" }}{{ end -}}
{{- end -}}
{{- if and .recompile.maxCostUsd (not (hasKey (default dict $.Values.config) "SLIPWAY_LM_PRICES")) }}{{ fail "loop.recompile.maxCostUsd needs prices: set config.SLIPWAY_LM_PRICES, or loop.recompile.maxCalls" }}{{ end -}}
{{- if and .judge.existingSecret (not (or .judge.model .judge.endpoint)) }}{{ fail "loop.judge.existingSecret is set, but the judge is the program's own LM: set loop.judge.model or endpoint, or leave the Secret out" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}
