# The services on Cloud Run, as deploy/cloudrun/ describes them: those files are the only place with their variables,
# ports, probes and limits.
locals {
  services = {
    for name in ["user", "product", "billing"] : name => yamldecode(templatefile("${path.module}/../cloudrun/${name}.yaml", {
      PROJECT        = var.project
      PROJECT_NUMBER = data.google_project.this.number
      REGION         = var.region
      IMAGE          = var.image
      API_KEY        = var.api_key
    }))
  }
}

resource "google_cloud_run_v2_service" "service" {
  for_each = local.services

  name     = each.value.metadata.name
  location = var.region
  ingress  = "INGRESS_TRAFFIC_ALL"

  template {
    service_account                  = each.value.spec.template.spec.serviceAccountName
    timeout                          = "${each.value.spec.template.spec.timeoutSeconds}s"
    max_instance_request_concurrency = each.value.spec.template.spec.containerConcurrency

    scaling {
      min_instance_count = tonumber(each.value.spec.template.metadata.annotations["autoscaling.knative.dev/minScale"])
      max_instance_count = tonumber(each.value.spec.template.metadata.annotations["autoscaling.knative.dev/maxScale"])
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"

      network_interfaces {
        network    = google_compute_network.shop.name
        subnetwork = google_compute_subnetwork.shop.name
      }
    }

    containers {
      image = each.value.spec.template.spec.containers[0].image
      args  = each.value.spec.template.spec.containers[0].args

      ports {
        name           = each.value.spec.template.spec.containers[0].ports[0].name
        container_port = each.value.spec.template.spec.containers[0].ports[0].containerPort
      }

      resources {
        limits            = each.value.spec.template.spec.containers[0].resources.limits
        cpu_idle          = false
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = [for entry in each.value.spec.template.spec.containers[0].env : entry if can(entry.value)]

        content {
          name  = env.value.name
          value = env.value.value
        }
      }

      # The version and not "latest": then a new secret makes a new revision, and all instances of one read the same.
      dynamic "env" {
        for_each = [for entry in each.value.spec.template.spec.containers[0].env : entry if can(entry.valueFrom)]

        content {
          name = env.value.name

          value_source {
            secret_key_ref {
              secret  = env.value.valueFrom.secretKeyRef.name
              version = google_secret_manager_secret_version.current[env.value.valueFrom.secretKeyRef.name].version
            }
          }
        }
      }

      startup_probe {
        period_seconds    = each.value.spec.template.spec.containers[0].startupProbe.periodSeconds
        timeout_seconds   = each.value.spec.template.spec.containers[0].startupProbe.timeoutSeconds
        failure_threshold = each.value.spec.template.spec.containers[0].startupProbe.failureThreshold

        http_get {
          path = each.value.spec.template.spec.containers[0].startupProbe.httpGet.path
          port = each.value.spec.template.spec.containers[0].startupProbe.httpGet.port
        }
      }

      liveness_probe {
        period_seconds    = each.value.spec.template.spec.containers[0].livenessProbe.periodSeconds
        timeout_seconds   = each.value.spec.template.spec.containers[0].livenessProbe.timeoutSeconds
        failure_threshold = each.value.spec.template.spec.containers[0].livenessProbe.failureThreshold

        http_get {
          path = each.value.spec.template.spec.containers[0].livenessProbe.httpGet.path
          port = each.value.spec.template.spec.containers[0].livenessProbe.httpGet.port
        }
      }

      dynamic "volume_mounts" {
        for_each = each.value.spec.template.spec.containers[0].volumeMounts

        content {
          name       = volume_mounts.value.name
          mount_path = volume_mounts.value.mountPath
        }
      }
    }

    dynamic "volumes" {
      for_each = each.value.spec.template.spec.volumes

      content {
        name = volumes.value.name

        secret {
          secret = volumes.value.secret.secretName

          items {
            version = google_secret_manager_secret_version.current[volumes.value.secret.secretName].version
            path    = volumes.value.secret.items[0].path
          }
        }
      }
    }
  }

  depends_on = [
    google_project_iam_member.role,
    google_secret_manager_secret_iam_member.reader,
    google_sql_database.service,
    google_sql_user.service,
    terraform_data.functions,
  ]
}

# Customers have no Google identity that IAM could check. Each service authenticates every call itself.
resource "google_cloud_run_v2_service_iam_member" "anyone" {
  for_each = google_cloud_run_v2_service.service

  name     = each.value.name
  location = each.value.location
  role     = "roles/run.invoker"
  member   = "allUsers"
}

output "urls" {
  description = "The base URLs of the services."
  value       = { for name, service in local.services : name => "https://${name}-${data.google_project.this.number}.${var.region}.run.app" }
}
