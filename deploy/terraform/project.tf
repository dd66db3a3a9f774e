data "google_project" "this" {
  project_id = var.project
}

locals {
  root = "${path.module}/../.."

  apis = toset([
    "apikeys", "artifactregistry", "billingbudgets", "cloudbuild", "cloudfunctions", "cloudtasks", "compute", "firestore",
    "iam", "identitytoolkit", "monitoring", "redis", "run", "secretmanager", "servicenetworking", "sqladmin",
  ])
}

resource "google_project_service" "api" {
  for_each = local.apis

  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

resource "google_artifact_registry_repository" "shop" {
  repository_id = "shop"
  location      = var.region
  format        = "DOCKER"
  description   = "The image of the services"

  docker_config {
    immutable_tags = true
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_notification_channel" "operators" {
  display_name = "Operators of the shop"
  type         = "email"

  labels = {
    email_address = var.alert_email
  }

  depends_on = [google_project_service.api]
}

# Firebase bills verifications, look-ups and Firestore by their number: an attack or a loop costs money before anything
# breaks.
resource "google_billing_budget" "shop" {
  billing_account = var.billing_account
  display_name    = "Shop ${var.project}"

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }

  amount {
    specified_amount {
      currency_code = var.currency
      units         = tostring(var.budget)
    }
  }

  threshold_rules {
    threshold_percent = 0.5
  }

  threshold_rules {
    threshold_percent = 1.0
  }

  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    monitoring_notification_channels = [google_monitoring_notification_channel.operators.id]
  }

  depends_on = [google_project_service.api]
}
