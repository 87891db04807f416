{{- define "extproc.labels" -}}
app.kubernetes.io/name: extproc
app.kubernetes.io/part-of: extproc
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "extproc.image" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}

{{- define "extproc.secret" -}}
{{ with .Values.injector.certificate }}{{ if eq .method "existing" }}{{ .existingSecret }}{{ else }}extproc-injector-tls{{ end }}{{ end }}
{{- end -}}

{{- define "extproc.centralSecret" -}}
{{ with .Values.central.tls }}{{ if eq .method "existing" }}{{ .existingSecret }}{{ else }}extproc-engine-tls{{ end }}{{ end }}
{{- end -}}
