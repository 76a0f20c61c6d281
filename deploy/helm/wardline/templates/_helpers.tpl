{{- define "wardline.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "wardline.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "wardline.labels" -}}
{{ include "wardline.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "wardline.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "wardline.sharedClaim" -}}
{{ .Values.cluster.shared.existingClaim | default (printf "%s-shared" (include "wardline.name" .)) }}
{{- end -}}

{{/* The text of wardline.toml. */}}
{{- define "wardline.config" -}}
{{- .Values.config -}}
{{- if .Values.cluster.enabled }}
{{- if regexMatch "(?m)^\\s*\\[(store|cluster)\\]" .Values.config }}
{{- fail "config: in a cluster the sections [store] and [cluster] are made of the values below cluster" }}
{{- end }}
{{- with .Values.cluster }}

[store]
url_file = "/etc/wardline/store/{{ .storeSecret.key }}"

[cluster]
engine = {{ .engine | toJson }}
servers = {{ .servers | toJson }}
{{- if .tlsSecret }}
tls = { authority = "/etc/wardline/bus/ca.crt", certificate = "/etc/wardline/bus/tls.crt", key = "/etc/wardline/bus/tls.key" }
{{- end }}
partitions = {{ .partitions }}
replicas = {{ .replicas }}
topic_bytes_max = {{ .topicBytesMax | int64 }}
lease_ms = {{ .leaseMs }}
replicated_tenants = {{ .replicatedTenants | toJson }}
shared_dir = "/srv/wardline"
{{ end }}
{{- end }}
{{- end -}}

{{- define "wardline.rights" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Mounts of a folder that settings lie in: of a node, or of the shared volume. */}}
{{- define "wardline.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .data }}
- name: data
  mountPath: /var/lib/wardline
{{- end }}
{{- if .root.Values.cluster.enabled }}
- name: shared
  mountPath: /srv/wardline
- name: store
  mountPath: /etc/wardline/store
  readOnly: true
{{- if .root.Values.cluster.tlsSecret }}
- name: bus
  mountPath: /etc/wardline/bus
  readOnly: true
{{- end }}
{{- end }}
{{- if include "wardline.config" .root }}
- name: config
  mountPath: {{ .folder }}/wardline.toml
  subPath: wardline.toml
  readOnly: true
{{- end }}
{{- end -}}

{{- define "wardline.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if include "wardline.config" . }}
- name: config
  configMap:
    name: {{ include "wardline.name" . }}
{{- end }}
{{- if .Values.cluster.enabled }}
- name: shared
  persistentVolumeClaim:
    claimName: {{ include "wardline.sharedClaim" . }}
- name: store
  secret:
    secretName: {{ .Values.cluster.storeSecret.name | quote }}
    defaultMode: 0440
{{- if .Values.cluster.tlsSecret }}
- name: bus
  secret:
    secretName: {{ .Values.cluster.tlsSecret | quote }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end -}}

{{/* What every pod has, whatever runs in it. */}}
{{- define "wardline.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  {{- include "wardline.volumes" . | nindent 2 }}
{{- end -}}

{{- define "wardline.container" -}}
image: {{ include "wardline.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- include "wardline.rights" . | nindent 2 }}
env:
  - name: WARDLINE_DATA_DIR
    value: {{ .folder }}
  - name: WARDLINE_LOG
    value: {{ .root.Values.log | quote }}
resources:
  {{- toYaml .resources | nindent 2 }}
volumeMounts:
  {{- include "wardline.mounts" . | nindent 2 }}
{{- end -}}

{{/* Makes what a folder needs before anything runs on it. */}}
{{- define "wardline.init" -}}
{{- include "wardline.container" . }}
# A folder that has an authority is left as it is; a run that was cut short is repeated.
command: ["/bin/sh", "-c", "test -d \"$WARDLINE_DATA_DIR/pki\" || exec wardline init \"$@\"", "init"]
args:
  - --trust-domain
  - {{ .root.Values.init.trustDomain | quote }}
  {{- range .root.Values.init.hosts }}
  - --host
  - {{ . | quote }}
  {{- else }}
  - --host
  - {{ include "wardline.name" .root | quote }}
  {{- end }}
  {{- if and .root.Values.cluster.enabled .root.Values.query.enabled }}
  - --host
  - {{ include "wardline.name" .root }}-query
  {{- end }}
{{- end -}}

{{/* A running node: root, folder, resources, roles (none: all), serves (whether devices and subscribers reach it). */}}
{{- define "wardline.node" -}}
name: gateway
{{ include "wardline.container" . }}
# Health and metrics are for the cluster; the network policy says for whom.
args: [serve, --http, "[::]:9464"{{ if .roles }}, --roles, {{ .roles | quote }}{{ end }}]
ports:
  {{- if .serves }}
  - name: mqtt
    containerPort: 8883
  - name: grpc
    containerPort: 8443
  - name: enrol
    containerPort: 9443
  {{- end }}
  - name: http
    containerPort: 9464
# A journal that is read after a crash takes its time.
startupProbe:
  httpGet:
    path: /livez
    port: http
  periodSeconds: 2
  failureThreshold: 150
livenessProbe:
  httpGet:
    path: /livez
    port: http
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: http
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{/* The server for queries: root, folder, data. */}}
{{- define "wardline.query" -}}
name: query
{{ include "wardline.container" . }}
command: [wardline-query]
args: [serve, --fhir-listen, "[::]:8445"{{ range .root.Values.query.args }}, {{ . | quote }}{{ end }}]
ports:
  - name: flight
    containerPort: 8444
  - name: fhir
    containerPort: 8445
# It opens the port when it serves.
startupProbe:
  tcpSocket:
    port: flight
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  tcpSocket:
    port: flight
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  tcpSocket:
    port: flight
  periodSeconds: 5
  timeoutSeconds: 3
{{- end -}}

{{- define "wardline.queryPorts" -}}
- name: flight
  port: 8444
  targetPort: flight
- name: fhir
  port: 8445
  targetPort: fhir
{{- end -}}

{{- define "wardline.claim" -}}
metadata:
  name: data
spec:
  accessModes: [ReadWriteOnce]
  {{- with .root.Values.volume.storageClassName }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .size }}
{{- end -}}
