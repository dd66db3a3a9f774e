# The functions. firebase-tools deploys them, because it checks the policy first, packs mstoken, and sets up the queue.
# Terraform makes what they need, writes their variables, and starts firebase-tools when a file of theirs has changed.
locals {
  functions_region = "us-central1"
  functions_url    = "https://${local.functions_region}-${var.project}.cloudfunctions.net"
  functions_files = concat(
    [for file in fileset(local.root, "functions/*.{py,toml,txt}") : "${local.root}/${file}"],
    [for file in fileset(local.root, "mstoken/**/*.py") : "${local.root}/${file}"],
  )
}

# firebase-tools reads it when it deploys. It has no secret.
resource "local_file" "functions" {
  filename        = "${local.root}/functions/.env.${var.project}"
  file_permission = "0644"
  content         = <<-EOT
    MSTOKEN_TOKEN_SERVICE_URL=${local.functions_url}/token
    MSTOKEN_BASE_URL=${local.functions_url}
    MSTOKEN_API_KEY=${var.api_key}
    MSTOKEN_REPLAY_URL=firestore:
    BILLING_URL=https://billing-${data.google_project.this.number}.${var.region}.run.app
  EOT
}

resource "google_cloud_tasks_queue" "deliver" {
  name     = "deliver"
  location = local.functions_region

  # firebase-tools sets these as functions/main.py has them.
  lifecycle {
    ignore_changes = [rate_limits, retry_config]
  }

  depends_on = [google_project_service.api]
}

resource "terraform_data" "functions" {
  triggers_replace = [
    local_file.functions.content,
    sha256(join("", [for file in local.functions_files : filesha256(file)])),
  ]

  provisioner "local-exec" {
    command     = "npx firebase deploy --only functions --project ${var.project} --non-interactive"
    working_dir = local.root
  }

  depends_on = [
    google_cloud_tasks_queue.deliver,
    google_firestore_database.default,
    google_project_iam_member.role,
    google_service_account_iam_member.self,
  ]
}
